// Shared by the operators on maps, whose channels are innermost: the shape of a convolution, and vectors of channels.
// Values are float or bfloat16 in memory and float in arithmetic.
#pragma once
#include <cstdint>
#include <cstring>

namespace {

typedef uint16_t bfloat16;

struct ConvShape {
    int64_t images, height, width, channels, kernel, stride, padding;
    int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
    int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
};

struct Sixteen {  // channels at a time
    typedef float Floats __attribute__((vector_size(64)));
    typedef uint32_t Bits __attribute__((vector_size(64)));
    typedef uint16_t Halves __attribute__((vector_size(32)));
};

struct Eight {
    typedef float Floats __attribute__((vector_size(32)));
    typedef uint32_t Bits __attribute__((vector_size(32)));
    typedef uint16_t Halves __attribute__((vector_size(16)));
};

template <typename Lanes>
inline typename Lanes::Floats load(const float* from) {
    typename Lanes::Floats values;
    std::memcpy(&values, from, sizeof values);
    return values;
}

template <typename Lanes>
inline typename Lanes::Floats load(const bfloat16* from) {
    typename Lanes::Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return (typename Lanes::Floats)(__builtin_convertvector(halves, typename Lanes::Bits) << 16);
}

template <typename Lanes>
inline void store(float* to, typename Lanes::Floats values) {
    std::memcpy(to, &values, sizeof values);
}

template <typename Lanes>
inline void store(bfloat16* to, typename Lanes::Floats values) {  // to the nearest, ties to even; NaN stays NaN
    typedef typename Lanes::Bits Bits;
    const Bits bits = (Bits)values, rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Bits is_nan = (Bits)(values != values);
    const typename Lanes::Halves halves =
        __builtin_convertvector((is_nan & 0x7fc0u) | (~is_nan & rounded), typename Lanes::Halves);
    std::memcpy(to, &halves, sizeof halves);
}

}  // namespace
