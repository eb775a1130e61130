"""Writes a GGUF file's model once more with all matrices in another format: `gguf-variants.py FROM TO F16|Q8_0`."""

import sys

import gguf
import numpy

FILE_TYPES = {'F16': gguf.LlamaFileType.MOSTLY_F16, 'Q8_0': gguf.LlamaFileType.MOSTLY_Q8_0}


def main(source, path, name):
    reader = gguf.GGUFReader(source)
    architecture = reader.get_field('general.architecture').contents()
    writer = gguf.GGUFWriter(path, architecture)
    for key, field in reader.fields.items():
        if key.startswith('GGUF.') or key in ('general.architecture', 'general.file_type'):
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=element)
    writer.add_file_type(FILE_TYPES[name])
    to = gguf.GGMLQuantizationType[name]
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values.astype('float32'))
        elif name == 'F16':
            writer.add_tensor(tensor.name, values.astype('float16'))
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(numpy.ascontiguousarray(values), to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(*sys.argv[1:4])
