// Gaussian noise: the quantile of a hash of (seed of the image, place), as in views/sensor.py.
#pragma once
#include <algorithm>
#include <cmath>

#include "vectors.h"

namespace {

typedef uint32_t ManyBits __attribute__((vector_size(MANY * 4)));

// Uniform in (0, 1), exact in float.
inline Many uniform(ManyBits x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;  // lowbias32 (C. Wellons)
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    x ^= x >> 16;
    return (__builtin_convertvector(x >> 9, Many) + 0.5f) * 0x1p-23f;
}

// The quantile of the normal distribution to seven digits (PPND7 of Wichura, AS 241), for p from 2^-24 to 1 - 2^-24.
float outer_quantile(float p) {
    const float r = std::sqrt(-std::log(std::min(p, 1 - p))) - 1.6f;
    const float value = (((0.17023821103f * r + 1.3067284816f) * r + 2.7568153900f) * r + 1.4234372777f) /
                        ((0.12021132975f * r + 0.73700164250f) * r + 1);
    return p < 0.5f ? -value : value;
}

inline Many quantile(Many p) {
    const Many q = p - 0.5f, r = 0.180625f - q * q;
    Many value = q * (((59.109374720f * r + 159.29113202f) * r + 50.434271938f) * r + 3.3871327179f) /
                 (((67.187563600f * r + 78.757757664f) * r + 17.895169469f) * r + 1);
    for (int lane = 0; lane < MANY; ++lane)
        if (r[lane] < 0) value[lane] = outer_quantile(p[lane]);
    return value;
}

// Adds noise to a row whose first value has the number `place` in its view, and clips. Whole vectors are written.
void add_noise(float* row, int length, uint32_t place, float sigma, uint32_t seed) {
    ManyBits lanes;
    for (int lane = 0; lane < MANY; ++lane) lanes[lane] = uint32_t(lane);
    const uint32_t start = seed * 0x9E3779B9u + place;
    for (int x = 0; x < length; x += MANY)
        store(row + x, clip(load(row + x) + sigma * quantile(uniform(lanes + (start + uint32_t(x))))));
}

}  // namespace
