"""A configuration of transformers 5 in the spelling of transformers 4, as most files of the hub have it."""


def scaling_of(parameters):
    """`rope_scaling` of version 4: none where nothing is scaled."""
    left = {key: value for key, value in parameters.items() if key not in ("rope_theta", "partial_rotary_factor")}
    return None if left["rope_type"] == "default" else left


def single_rope(config, parameters):
    config["rope_scaling"] = scaling_of(parameters)
    theta, part = parameters["rope_theta"], parameters.get("partial_rotary_factor")
    if config["model_type"] == "gpt_neox":
        return config.update(rotary_emb_base=theta, rotary_pct=part)
    config["rope_theta"] = theta
    if part is not None:
        config["partial_rotary_factor"] = part


def rope_per_kind(config, parameters):
    """gemma 3 and olmo 3: `rope_scaling` is of the layers with full attention."""
    full, sliding = parameters["full_attention"], parameters["sliding_attention"]
    config.update(rope_theta=full["rope_theta"], rope_scaling=scaling_of(full))
    if config["model_type"] == "gemma3_text":
        config["rope_local_base_freq"] = sliding["rope_theta"]


def phi3_rope(config):
    """Phi-3 files keep the length that the model was first trained with outside."""
    scaling = config.get("rope_scaling")
    if config["model_type"] == "phi3" and scaling:
        config["original_max_position_embeddings"] = scaling.pop("original_max_position_embeddings")
        config["rope_scaling"] = dict(type="longrope", short_factor=scaling["short_factor"], long_factor=scaling["long_factor"])


def as_v4(config):
    old = {key: value for key, value in config.items() if key not in ("rope_parameters", "dtype")}
    old.update(torch_dtype=config["dtype"], transformers_version="4.51.3")
    parameters = config.get("rope_parameters")
    if parameters is not None:
        (rope_per_kind if "full_attention" in parameters else single_rope)(old, parameters)
    phi3_rope(old)
    if "_sliding_window_pattern" in old:
        old["sliding_window_pattern"] = old.pop("_sliding_window_pattern")
        del old["layer_types"]
    return old
