// The copies around a convolution that is computed as one matrix product. Maps have channels innermost. `columns` has one
// row per output place, with kernel * kernel pixels of `channels` values each; outside the map there are zeros.
#include <algorithm>
#include <vector>

#include "maps.h"

namespace {

inline float value_of(float value) { return value; }

inline float value_of(bfloat16 half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline void put(float value, float* to) { *to = value; }

inline void put(float value, bfloat16* to) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    *to = (bfloat16)(value != value ? 0x7fc0u : rounded);
}

template <typename Value>
void gather(const Value* map, Value* columns, const ConvShape& s) {
    const int64_t out_height = s.out_height(), out_width = s.out_width(), row_size = s.kernel * s.kernel * s.channels;
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t image = 0; image < s.images; ++image) {
        for (int64_t out_y = 0; out_y < out_height; ++out_y) {
            Value* to = columns + (image * out_height + out_y) * out_width * row_size;
            for (int64_t out_x = 0; out_x < out_width; ++out_x) {
                for (int64_t ky = 0; ky < s.kernel; ++ky) {
                    const int64_t y = out_y * s.stride + ky - s.padding;
                    for (int64_t kx = 0; kx < s.kernel; ++kx, to += s.channels) {
                        const int64_t x = out_x * s.stride + kx - s.padding;
                        const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
                        const Value* from = map + ((image * s.height + y) * s.width + x) * s.channels;
                        if (inside) std::memcpy(to, from, s.channels * sizeof(Value));
                        else std::memset(to, 0, s.channels * sizeof(Value));
                    }
                }
            }
        }
    }
}

// The transpose: every pixel of the map is the sum of the places of `columns` that hold it.
template <typename Value>
void scatter(const Value* columns, Value* map, const ConvShape& s) {
    const int64_t out_height = s.out_height(), out_width = s.out_width(), row_size = s.kernel * s.kernel * s.channels;
#pragma omp parallel
    {
        std::vector<float> sums(s.channels);
#pragma omp for schedule(static) collapse(2)
        for (int64_t image = 0; image < s.images; ++image) {
            for (int64_t y = 0; y < s.height; ++y) {
                for (int64_t x = 0; x < s.width; ++x) {
                    std::fill(sums.begin(), sums.end(), 0.0f);
                    for (int64_t ky = 0; ky < s.kernel; ++ky) {
                        const int64_t up = y + s.padding - ky, out_y = up / s.stride;
                        if (up < 0 || up % s.stride || out_y >= out_height) continue;
                        for (int64_t kx = 0; kx < s.kernel; ++kx) {
                            const int64_t left = x + s.padding - kx, out_x = left / s.stride;
                            if (left < 0 || left % s.stride || out_x >= out_width) continue;
                            const Value* from = columns + ((image * out_height + out_y) * out_width + out_x) * row_size +
                                                (ky * s.kernel + kx) * s.channels;
#pragma omp simd
                            for (int64_t c = 0; c < s.channels; ++c) sums[c] += value_of(from[c]);
                        }
                    }
                    Value* to = map + ((image * s.height + y) * s.width + x) * s.channels;
#pragma omp simd
                    for (int64_t c = 0; c < s.channels; ++c) put(sums[c], to + c);
                }
            }
        }
    }
}

}  // namespace

extern "C" {

void columns_gather(const void* map, void* columns, const int64_t* shape, int is_bfloat16) {
    const ConvShape& s = *(const ConvShape*)shape;
    if (is_bfloat16) gather((const bfloat16*)map, (bfloat16*)columns, s);
    else gather((const float*)map, (float*)columns, s);
}

void columns_scatter(const void* columns, void* map, const int64_t* shape, int is_bfloat16) {
    const ConvShape& s = *(const ConvShape*)shape;
    if (is_bfloat16) scatter((const bfloat16*)columns, (bfloat16*)map, s);
    else scatter((const float*)columns, (float*)map, s);
}
}
