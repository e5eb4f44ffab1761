// Batch norm and group norm with the addition of a residual and ReLU, forward and backward, in as few passes over the map
// as there can be. A map is rows (image and place) by channels, channels innermost; channels are a multiple of 16. Values are float32
// or bfloat16, arithmetic is float32, sums over rows end in float64.
#include <algorithm>
#include <cmath>
#include <omp.h>
#include <vector>

#include "maps.h"

namespace {

constexpr int LANES = 16;
constexpr int64_t BLOCK_BYTES = 32768;  // of one block of rows, which stays in the first cache
constexpr int64_t BLOCK_ROWS = 64;      // that are added in float32 before float64
typedef Sixteen::Floats Vector;
typedef int32_t Mask __attribute__((vector_size(64)));

template <typename Value>
inline Vector load(const Value* from) {
    return load<Sixteen>(from);
}

template <typename Value>
inline void store(Value* to, Vector value) {
    store<Sixteen>(to, value);
}

inline Vector where(Mask keep, Vector value) { return (Vector)((Mask)value & keep); }

template <typename Value>
int64_t rows_in_block(int64_t channels) {
    return std::clamp<int64_t>(BLOCK_BYTES / (channels * (int64_t)sizeof(Value)), 1, BLOCK_ROWS);
}

// Calls `block(first, last, partial)` for blocks of rows on all threads and adds the 2 * channels sums that it leaves
// in `partial` to `sums`; thread after thread, so that as many threads always give the same bits.
template <typename Block>
void reduce(int64_t rows, int64_t channels, int64_t step, double* sums, Block block) {
    std::fill(sums, sums + 2 * channels, 0.0);
#pragma omp parallel
    {
        std::vector<double> own(2 * channels, 0.0);
        std::vector<float> partial(2 * channels);
#pragma omp for schedule(static) nowait
        for (int64_t first = 0; first < rows; first += step) {
            block(first, std::min(first + step, rows), partial.data());
            for (int64_t i = 0; i < 2 * channels; ++i) own[i] += partial[i];
        }
#pragma omp for ordered schedule(static, 1)
        for (int thread = 0; thread < omp_get_num_threads(); ++thread) {
#pragma omp ordered
            for (int64_t i = 0; i < 2 * channels; ++i) sums[i] += own[i];
        }
    }
}

// The same on one thread.
template <typename Block>
void reduce_alone(int64_t rows, int64_t channels, int64_t step, double* sums, float* partial, Block block) {
    std::fill(sums, sums + 2 * channels, 0.0);
    for (int64_t first = 0; first < rows; first += step) {
        block(first, std::min(first + step, rows), partial);
        for (int64_t i = 0; i < 2 * channels; ++i) sums[i] += partial[i];
    }
}

// The mean of a few rows, near enough to the mean that differences to it keep their digits.
template <typename Value>
void near_mean(const Value* x, int64_t rows, int64_t channels, float* shift) {
    const int64_t few = std::min<int64_t>(rows, 16), apart = rows / few;
    for (int64_t c = 0; c < channels; c += LANES) {
        Vector sum = {};
        for (int64_t row = 0; row < few; ++row) sum += load(x + row * apart * channels + c);
        store(shift + c, sum / (float)few);
    }
}

// (2, channels) of differences to `shift`: their sums and the sums of their squares
template <typename Value>
auto differences(const Value* x, int64_t channels, const float* shift) {
    return [=](int64_t first, int64_t last, float* partial) {
        for (int64_t c = 0; c < channels; c += LANES) {
            const Vector from = load(shift + c);
            Vector sum = {}, square = {};
            for (int64_t row = first; row < last; ++row) {
                const Vector difference = load(x + row * channels + c) - from;
                sum += difference;
                square += difference * difference;
            }
            store(partial + c, sum);
            store(partial + channels + c, square);
        }
    };
}

template <typename Value>
void statistics(const Value* x, int64_t rows, int64_t channels, float* mean, float* variance) {
    std::vector<float> shift(channels);
    near_mean(x, rows, channels, shift.data());
    std::vector<double> sums(2 * channels);
    reduce(rows, channels, rows_in_block<Value>(channels), sums.data(), differences(x, channels, shift.data()));
    for (int64_t c = 0; c < channels; ++c) {
        const double average = sums[c] / rows;
        mean[c] = (float)(shift[c] + average);
        variance[c] = (float)std::max(sums[channels + c] / rows - average * average, 0.0);  // NaN stays NaN
    }
}

template <typename Value>
inline void apply_row(const Value* x, const Value* residual, Value* y, const float* scale, const float* shift,
                      int64_t channels, bool relu) {
    for (int64_t c = 0; c < channels; c += LANES) {
        Vector value = load(x + c) * load(scale + c) + load(shift + c);
        if (residual) value += load(residual + c);
        if (relu) value = where((value > 0) | (value != value), value);
        store(y + c, value);
    }
}

template <typename Value>
void apply(const Value* x, const Value* residual, Value* y, const float* scale, const float* shift, int64_t rows,
           int64_t channels, bool relu) {
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < rows * channels; at += channels) {
        apply_row(x + at, residual ? residual + at : residual, y + at, scale, shift, channels, relu);
    }
}

// What comes through ReLU: where the output was above 0. Without a residual that is known from x.
template <bool RELU, bool RESIDUAL, typename Value>
inline Vector through(const Value* gradient, const Value* x, const Value* y, const float* scale, const float* shift) {
    const Vector value = load(gradient);
    if (!RELU) return value;
    if (RESIDUAL) return where(load(y) > 0, value);
    return where(load(x) * load(scale) + load(shift) > 0, value);
}

// (2, channels) of what comes through ReLU: its sums, and the sums of it times x without its mean
template <bool RELU, bool RESIDUAL, typename Value>
auto products(const Value* gradient, const Value* x, const Value* y, const float* scale, const float* shift,
              const float* mean, int64_t channels, Value* to_residual) {
    return [=](int64_t first, int64_t last, float* partial) {
        for (int64_t c = 0; c < channels; c += LANES) {
            const Vector centre = load(mean + c);
            Vector sum = {}, product = {};
            for (int64_t row = first; row < last; ++row) {
                const int64_t at = row * channels + c;
                const Vector value =
                    through<RELU, RESIDUAL>(gradient + at, x + at, y + at, scale + c, shift + c);
                if (RESIDUAL) store(to_residual + at, value);
                sum += value;
                product += value * (load(x + at) - centre);
            }
            store(partial + c, sum);
            store(partial + channels + c, product);
        }
    };
}

template <bool RELU, bool RESIDUAL, typename Value>
void backward(const Value* gradient, const Value* x, const Value* y, const float* scale, const float* shift,
              const float* mean, const float* inverse_std, int64_t rows, int64_t channels, Value* to_residual,
              double* sums) {
    reduce(rows, channels, rows_in_block<Value>(channels), sums,
           products<RELU, RESIDUAL>(gradient, x, y, scale, shift, mean, channels, to_residual));
    for (int64_t c = 0; c < channels; ++c) sums[channels + c] *= inverse_std[c];
}

// One row of dx = scale dz + slope x + offset.
template <bool RELU, bool RESIDUAL, typename Value>
inline void backward_row(const Value* gradient, const Value* x, const Value* to_residual, const float* scale,
                         const float* shift, const float* slope, const float* offset, int64_t channels, Value* to_x) {
    for (int64_t c = 0; c < channels; c += LANES) {
        const Vector value = RESIDUAL ? load(to_residual + c)
                                      : through<RELU, false>(gradient + c, x + c, x + c, scale + c, shift + c);
        store(to_x + c, load(scale + c) * value + load(slope + c) * load(x + c) + load(offset + c));
    }
}

template <bool RELU, bool RESIDUAL, typename Value>
void backward_input(const Value* gradient, const Value* x, const Value* to_residual, const float* scale,
                    const float* shift, const float* mean, const float* inverse_std, const double* sums, int64_t count,
                    int64_t rows, int64_t channels, Value* to_x) {
    // dx = scale (dz - mean(dz) - normalised x * mean(dz * normalised x)) = scale dz + slope x + offset
    std::vector<float> slope(channels), offset(channels);
    for (int64_t c = 0; c < channels; ++c) {
        const double along = sums[channels + c] / count * inverse_std[c];
        slope[c] = (float)(-scale[c] * along);
        offset[c] = (float)(scale[c] * (along * mean[c] - sums[c] / count));
    }
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < rows * channels; at += channels) {
        backward_row<RELU, RESIDUAL>(gradient + at, x + at, RESIDUAL ? to_residual + at : to_residual, scale, shift,
                                     slope.data(), offset.data(), channels, to_x + at);
    }
}

// Group norm: statistics of each image's `groups` groups of channels, which stay in the cache from pass to pass.
struct Groups {
    int64_t images, rows, channels, groups;
    int64_t width() const { return channels / groups; }
};

// Scale and shift of each channel of one image, from its groups' means and inverse deviations.
inline void group_scale(Groups of, const float* weight, const float* bias, const float* mean, const float* inverse_std,
                        float* scale, float* shift) {
    for (int64_t c = 0; c < of.channels; ++c) {
        const int64_t group = c / of.width();
        scale[c] = weight[c] * inverse_std[group];
        shift[c] = bias[c] - mean[group] * scale[c];
    }
}

template <typename Value>
void group_forward(Groups of, const Value* x, const Value* residual, Value* y, const float* weight, const float* bias,
                   float epsilon, float* mean, float* inverse_std, bool relu) {
    const int64_t channels = of.channels;
#pragma omp parallel
    {
        std::vector<float> scale(channels), shift(channels), partial(2 * channels);
        std::vector<double> sums(2 * channels);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < of.images; ++image) {
            const int64_t start = image * of.rows * channels;
            float *means = mean + image * of.groups, *inverse = inverse_std + image * of.groups;
            near_mean(x + start, of.rows, channels, shift.data());
            reduce_alone(of.rows, channels, rows_in_block<Value>(channels), sums.data(), partial.data(),
                         differences(x + start, channels, shift.data()));
            for (int64_t group = 0; group < of.groups; ++group) {
                const int64_t first = group * of.width(), last = first + of.width();
                double average = 0, variance = 0;
                for (int64_t c = first; c < last; ++c) average += shift[c] + sums[c] / of.rows;
                average /= of.width();
                for (int64_t c = first; c < last; ++c) {
                    const double away = sums[c] / of.rows, apart = shift[c] + away - average;
                    variance += sums[channels + c] / of.rows - away * away + apart * apart;
                }
                means[group] = (float)average;
                inverse[group] = (float)(1 / std::sqrt(std::max(variance / of.width(), 0.0) + epsilon));
            }
            group_scale(of, weight, bias, means, inverse, scale.data(), shift.data());
            for (int64_t row = 0; row < of.rows; ++row) {
                const int64_t at = start + row * channels;
                apply_row(x + at, residual ? residual + at : residual, y + at, scale.data(), shift.data(), channels, relu);
            }
        }
    }
}

// `to_weight` and `to_bias`: (images, channels), of each image alone
template <bool RELU, bool RESIDUAL, typename Value>
void group_backward(Groups of, const Value* gradient, const Value* x, const Value* y, const float* weight,
                    const float* bias, const float* mean, const float* inverse_std, Value* to_residual, Value* to_x,
                    float* to_weight, float* to_bias) {
    const int64_t channels = of.channels;
#pragma omp parallel
    {
        std::vector<float> scale(channels), shift(channels), slope(channels), offset(channels), centre(channels),
            partial(2 * channels);
        std::vector<double> sums(2 * channels);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < of.images; ++image) {
            const int64_t start = image * of.rows * channels;
            const float *means = mean + image * of.groups, *inverse = inverse_std + image * of.groups;
            group_scale(of, weight, bias, means, inverse, scale.data(), shift.data());
            for (int64_t c = 0; c < channels; ++c) centre[c] = means[c / of.width()];
            Value* residual = RESIDUAL ? to_residual + start : to_residual;
            reduce_alone(of.rows, channels, rows_in_block<Value>(channels), sums.data(), partial.data(),
                         products<RELU, RESIDUAL>(gradient + start, x + start, RESIDUAL ? y + start : x + start,
                                                  scale.data(), shift.data(), centre.data(), channels, residual));
            for (int64_t group = 0; group < of.groups; ++group) {
                const int64_t first = group * of.width(), last = first + of.width();
                double along = 0, sum = 0;  // means over the group of w dz times the normalised x, and of w dz
                for (int64_t c = first; c < last; ++c) {
                    const double product = sums[channels + c] * inverse[group];
                    to_weight[image * channels + c] = (float)product;
                    to_bias[image * channels + c] = (float)sums[c];
                    along += weight[c] * product;
                    sum += weight[c] * sums[c];
                }
                along *= inverse[group] / (of.rows * of.width());
                sum /= of.rows * of.width();
                for (int64_t c = first; c < last; ++c) {
                    slope[c] = (float)(-inverse[group] * along);
                    offset[c] = (float)(inverse[group] * (along * means[group] - sum));
                }
            }
            for (int64_t row = 0; row < of.rows; ++row) {
                const int64_t at = start + row * channels;
                backward_row<RELU, RESIDUAL>(gradient + at, x + at, RESIDUAL ? to_residual + at : to_residual,
                                             scale.data(), shift.data(), slope.data(), offset.data(), channels, to_x + at);
            }
        }
    }
}

template <typename Call>
void by_kind(bool relu, bool residual, Call call) {
    if (relu && residual) call(std::true_type{}, std::true_type{});
    else if (relu) call(std::true_type{}, std::false_type{});
    else if (residual) call(std::false_type{}, std::true_type{});
    else call(std::false_type{}, std::false_type{});
}

template <typename Call>
void by_type(bool is_bfloat16, Call call) {
    if (is_bfloat16) call(bfloat16{});
    else call(float{});
}

}  // namespace

extern "C" {

// mean and biased variance, (channels,) each
void norm_statistics(const void* x, int64_t rows, int64_t channels, float* mean, float* variance, int is_bfloat16) {
    by_type(is_bfloat16, [&](auto kind) {
        statistics((const decltype(kind)*)x, rows, channels, mean, variance);
    });
}

// y = [relu] (x * scale + shift [+ residual])
void norm_apply(const void* x, const void* residual, void* y, const float* scale, const float* shift, int64_t rows,
                int64_t channels, int relu, int is_bfloat16) {
    by_type(is_bfloat16, [&](auto kind) {
        using Value = decltype(kind);
        apply((const Value*)x, (const Value*)residual, (Value*)y, scale, shift, rows, channels, relu);
    });
}

// sums: (2, channels) of the gradient behind ReLU, and of it times the normalised x; `to_residual` takes that gradient
void norm_backward_sums(const void* gradient, const void* x, const void* y, const float* scale, const float* shift,
                        const float* mean, const float* inverse_std, int64_t rows, int64_t channels, void* to_residual,
                        double* sums, int relu, int is_bfloat16) {
    by_type(is_bfloat16, [&](auto kind) {
        using Value = decltype(kind);
        by_kind(relu, to_residual != nullptr, [&](auto has_relu, auto has_residual) {
            backward<has_relu.value, has_residual.value>((const Value*)gradient, (const Value*)x, (const Value*)y, scale,
                                                         shift, mean, inverse_std, rows, channels, (Value*)to_residual,
                                                         sums);
        });
    });
}

// the gradient of x, from the sums over all `count` rows (those of other processes too)
void norm_backward_input(const void* gradient, const void* x, const void* to_residual, const float* scale,
                         const float* shift, const float* mean, const float* inverse_std, const double* sums,
                         int64_t count, int64_t rows, int64_t channels, void* to_x, int relu, int is_bfloat16) {
    by_type(is_bfloat16, [&](auto kind) {
        using Value = decltype(kind);
        by_kind(relu, to_residual != nullptr, [&](auto has_relu, auto has_residual) {
            backward_input<has_relu.value, has_residual.value>((const Value*)gradient, (const Value*)x,
                                                               (const Value*)to_residual, scale, shift, mean,
                                                               inverse_std, sums, count, rows, channels, (Value*)to_x);
        });
    });
}

// y = [relu] (group norm of x [+ residual]); mean and inverse_std are (images, groups)
void group_norm_forward(const void* x, const void* residual, void* y, const float* weight, const float* bias,
                        float* mean, float* inverse_std, float epsilon, int64_t images, int64_t rows, int64_t channels,
                        int64_t groups, int relu, int is_bfloat16) {
    by_type(is_bfloat16, [&](auto kind) {
        using Value = decltype(kind);
        group_forward(Groups{images, rows, channels, groups}, (const Value*)x, (const Value*)residual, (Value*)y, weight,
                      bias, epsilon, mean, inverse_std, relu);
    });
}

// to_weight and to_bias are (images, channels), of each image alone; `to_residual` takes the gradient behind ReLU
void group_norm_backward(const void* gradient, const void* x, const void* y, const float* weight, const float* bias,
                         const float* mean, const float* inverse_std, void* to_residual, void* to_x, float* to_weight,
                         float* to_bias, int64_t images, int64_t rows, int64_t channels, int64_t groups, int relu,
                         int is_bfloat16) {
    by_type(is_bfloat16, [&](auto kind) {
        using Value = decltype(kind);
        by_kind(relu, to_residual != nullptr, [&](auto has_relu, auto has_residual) {
            group_backward<has_relu.value, has_residual.value>(
                Groups{images, rows, channels, groups}, (const Value*)gradient, (const Value*)x, (const Value*)y, weight,
                bias, mean, inverse_std, (Value*)to_residual, (Value*)to_x, to_weight, to_bias);
        });
    });
}
}
