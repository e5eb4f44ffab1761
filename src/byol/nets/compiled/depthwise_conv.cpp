// The gradients of a depthwise convolution. Maps have channels innermost; `weight` and its gradient are
// (kernel, kernel, channels) of float. Sums are in float.
#include <algorithm>
#include <vector>

#include "maps.h"

namespace {

inline int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Every pixel is the sum over the output places that saw it.
template <typename Value, typename Lanes>
void input_gradient(const Value* gradient, const float* weight, Value* result, int64_t first, const ConvShape& s) {
    typedef typename Lanes::Floats Floats;
    const int64_t out_height = s.out_height(), out_width = s.out_width();
    for (int64_t y = 0; y < s.height; ++y) {
        const int64_t down = y + s.padding, last_y = std::min(down / s.stride, out_height - 1);
        const int64_t first_y = std::max<int64_t>(0, divide_up(down - s.kernel + 1, s.stride));
        for (int64_t x = 0; x < s.width; ++x) {
            const int64_t right = x + s.padding, last_x = std::min(right / s.stride, out_width - 1);
            const int64_t first_x = std::max<int64_t>(0, divide_up(right - s.kernel + 1, s.stride));
            Floats sum = {};
            for (int64_t out_y = first_y; out_y <= last_y; ++out_y) {
                const float* row = weight + (down - out_y * s.stride) * s.kernel * s.channels + first;
                const Value* from = gradient + out_y * out_width * s.channels + first;
                for (int64_t out_x = first_x; out_x <= last_x; ++out_x) {
                    sum += load<Lanes>(from + out_x * s.channels) *
                           load<Lanes>(row + (right - out_x * s.stride) * s.channels);
                }
            }
            store<Lanes>(result + (y * s.width + x) * s.channels + first, sum);
        }
    }
}

template <typename Value, typename Lanes, int Kernel>
void weight_gradient(const Value* input, const Value* gradient, float* result, int64_t first, const ConvShape& s) {
    typedef typename Lanes::Floats Floats;
    const int64_t out_height = s.out_height(), out_width = s.out_width();
    for (int64_t ky = 0; ky < Kernel; ++ky) {
        Floats sums[Kernel];
        for (int kx = 0; kx < Kernel; ++kx) sums[kx] = load<Lanes>(result + (ky * Kernel + kx) * s.channels + first);
        for (int64_t out_y = 0; out_y < out_height; ++out_y) {
            const int64_t y = out_y * s.stride + ky - s.padding;
            if (y < 0 || y >= s.height) continue;
            const Value* row = input + y * s.width * s.channels + first;
            const Value* from = gradient + out_y * out_width * s.channels + first;
            for (int64_t out_x = 0; out_x < out_width; ++out_x) {
                const int64_t left = out_x * s.stride - s.padding;
                const Floats seen = load<Lanes>(from + out_x * s.channels);
                if (left >= 0 && left + Kernel <= s.width) {
                    for (int kx = 0; kx < Kernel; ++kx) sums[kx] += seen * load<Lanes>(row + (left + kx) * s.channels);
                } else {
                    for (int kx = 0; kx < Kernel; ++kx) {
                        if (left + kx >= 0 && left + kx < s.width) {
                            sums[kx] += seen * load<Lanes>(row + (left + kx) * s.channels);
                        }
                    }
                }
            }
        }
        for (int kx = 0; kx < Kernel; ++kx) store<Lanes>(result + (ky * Kernel + kx) * s.channels + first, sums[kx]);
    }
}

// The images are summed in at most `GROUPS` parts, whatever the number of threads, so that the sums do not depend on it.
constexpr int64_t GROUPS = 8;

template <typename Value, typename Lanes, int Kernel>
void gradients(const Value* input, const Value* gradient, const float* weight, Value* to_input, float* to_weight, const ConvShape& s) {
    const int64_t size = sizeof(typename Lanes::Floats) / sizeof(float), blocks = s.channels / size, groups = std::min(s.images, GROUPS);
    const int64_t weights = s.kernel * s.kernel * s.channels;
    const int64_t map = s.height * s.width * s.channels, out_map = s.out_height() * s.out_width() * s.channels;
    std::vector<float> parts(groups * weights);
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t group = 0; group < groups; ++group) {
        for (int64_t block = 0; block < blocks; ++block) {
            for (int64_t image = group * s.images / groups; image < (group + 1) * s.images / groups; ++image) {
                const Value* from = gradient + image * out_map;
                if (to_input) input_gradient<Value, Lanes>(from, weight, to_input + image * map, block * size, s);
                weight_gradient<Value, Lanes, Kernel>(input + image * map, from, parts.data() + group * weights, block * size, s);
            }
        }
    }
    for (int64_t i = 0; i < weights; ++i) {
        to_weight[i] = 0;
        for (int64_t group = 0; group < groups; ++group) to_weight[i] += parts[group * weights + i];
    }
}

template <typename Value, typename Lanes>
void of_kernel(const Value* input, const Value* gradient, const float* weight, Value* to_input, float* to_weight, const ConvShape& s) {
    if (s.kernel == 3) gradients<Value, Lanes, 3>(input, gradient, weight, to_input, to_weight, s);
    else if (s.kernel == 5) gradients<Value, Lanes, 5>(input, gradient, weight, to_input, to_weight, s);
    else gradients<Value, Lanes, 7>(input, gradient, weight, to_input, to_weight, s);
}

template <typename Value>
void of_channels(const Value* input, const Value* gradient, const float* weight, Value* to_input, float* to_weight, const ConvShape& s) {
    if (s.channels % 16 == 0) of_kernel<Value, Sixteen>(input, gradient, weight, to_input, to_weight, s);
    else of_kernel<Value, Eight>(input, gradient, weight, to_input, to_weight, s);
}

}  // namespace

extern "C" void depthwise_gradients(const void* input, const void* gradient, const float* weight, void* to_input,
                                    float* to_weight, const int64_t* shape, int is_bfloat16) {
    const ConvShape& s = *(const ConvShape*)shape;
    if (is_bfloat16) of_channels((const bfloat16*)input, (const bfloat16*)gradient, weight, (bfloat16*)to_input, to_weight, s);
    else of_channels((const float*)input, (const float*)gradient, weight, (float*)to_input, to_weight, s);
}
