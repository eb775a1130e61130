// Everything of FlowRL that crosses the border: its policy and its loss.
#pragma once
#include "binding/convert.h"

namespace palm::binding {

void flowrl_rows(Table& table);

}  // namespace palm::binding
