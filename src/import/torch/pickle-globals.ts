/** The globals that the pickle of a state_dict may name; all others are rejected. */
import type { SafetensorsDtype } from '../../files/safetensors/header.ts';

/** Storage types and their element types. */
export const STORAGES: Readonly<Record<string, SafetensorsDtype>> = {
  'torch.FloatStorage': 'F32',
  'torch.DoubleStorage': 'F64',
  'torch.HalfStorage': 'F16',
  'torch.BFloat16Storage': 'BF16',
  'torch.LongStorage': 'I64',
  'torch.IntStorage': 'I32',
  'torch.ShortStorage': 'I16',
  'torch.CharStorage': 'I8',
  'torch.ByteStorage': 'U8',
  'torch.BoolStorage': 'BOOL',
  'torch.storage.UntypedStorage': 'U8',
};
export const ORDERED_DICT = 'collections.OrderedDict';
export const TENSOR = 'torch._utils._rebuild_tensor_v2';
export const PARAMETER = 'torch._utils._rebuild_parameter';
export const SIZE = 'torch.Size';
export const DTYPE =
  /^torch\.(float(16|32|64)|double|half|bfloat16|u?int(8|16|32|64)|long|short|bool|complex(64|128))$/;
