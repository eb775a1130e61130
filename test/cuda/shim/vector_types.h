#pragma once
struct alignas(16) float4 {
  float x, y, z, w;
};
