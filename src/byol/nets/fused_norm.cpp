// Batch norm with the addition of a residual and ReLU, forward and backward, in as few passes over the map as there can
// be. A map is rows (image and place) by channels, channels innermost; channels are a multiple of 16. Values are float32
// or bfloat16, arithmetic is float32, sums over rows end in float64.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int LANES = 16;
constexpr int64_t BLOCK_BYTES = 32768;  // of one block of rows, which stays in the first cache
constexpr int64_t BLOCK_ROWS = 64;      // that are added in float32 before float64
typedef float Vector __attribute__((vector_size(64)));
typedef int32_t Mask __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
typedef uint16_t bfloat16;

inline Vector load(const float* from) {
    Vector value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline Vector load(const bfloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return (Vector)(__builtin_convertvector(halves, Words) << 16);
}

inline void store(float* to, Vector value) { std::memcpy(to, &value, sizeof value); }

inline void store(bfloat16* to, Vector value) {  // to the nearest, ties to even; NaN stays NaN
    const Words bits = (Words)value, is_nan = (Words)(value != value);
    const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Halves halves = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0u & is_nan), Halves);
    std::memcpy(to, &halves, sizeof halves);
}

inline Vector where(Mask keep, Vector value) { return (Vector)((Mask)value & keep); }

template <typename Value>
int64_t rows_in_block(int64_t channels) {
    return std::clamp<int64_t>(BLOCK_BYTES / (channels * (int64_t)sizeof(Value)), 1, BLOCK_ROWS);
}

// Calls `block(first, last, partial)` for blocks of rows on all threads and adds the 2 * channels sums that it leaves
// in `partial` (float, zero at the start) to `sums`.
template <typename Block>
void reduce(int64_t rows, int64_t channels, int64_t step, double* sums, Block block) {
    std::fill(sums, sums + 2 * channels, 0.0);
#pragma omp parallel
    {
        std::vector<double> own(2 * channels, 0.0);
        std::vector<float> partial(2 * channels);
#pragma omp for schedule(static) nowait
        for (int64_t first = 0; first < rows; first += step) {
            std::fill(partial.begin(), partial.end(), 0.0f);
            block(first, std::min(first + step, rows), partial.data());
            for (int64_t i = 0; i < 2 * channels; ++i) own[i] += partial[i];
        }
#pragma omp critical
        for (int64_t i = 0; i < 2 * channels; ++i) sums[i] += own[i];
    }
}

template <typename Value>
void statistics(const Value* x, int64_t rows, int64_t channels, float* mean, float* variance) {
    // of differences to the mean of a few rows, so that a large mean costs no digits
    const int64_t few = std::min<int64_t>(rows, 16), apart = rows / few;
    std::vector<float> shift(channels);
    for (int64_t c = 0; c < channels; c += LANES) {
        Vector sum = {};
        for (int64_t row = 0; row < few; ++row) sum += load(x + row * apart * channels + c);
        store(shift.data() + c, sum / (float)few);
    }
    std::vector<double> sums(2 * channels);
    reduce(rows, channels, rows_in_block<Value>(channels), sums.data(), [&](int64_t first, int64_t last, float* partial) {
        for (int64_t c = 0; c < channels; c += LANES) {
            const Vector from = load(shift.data() + c);
            Vector sum = {}, square = {};
            for (int64_t row = first; row < last; ++row) {
                const Vector difference = load(x + row * channels + c) - from;
                sum += difference;
                square += difference * difference;
            }
            store(partial + c, sum);
            store(partial + channels + c, square);
        }
    });
    for (int64_t c = 0; c < channels; ++c) {
        const double average = sums[c] / rows;
        mean[c] = (float)(shift[c] + average);
        variance[c] = (float)std::max(0.0, sums[channels + c] / rows - average * average);
    }
}

template <typename Value>
void apply(const Value* x, const Value* residual, Value* y, const float* scale, const float* shift, int64_t rows,
           int64_t channels, bool relu) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = row * channels;
        for (int64_t c = 0; c < channels; c += LANES) {
            Vector value = load(x + at + c) * load(scale + c) + load(shift + c);
            if (residual) value += load(residual + at + c);
            if (relu) value = where((value > 0) | (value != value), value);
            store(y + at + c, value);
        }
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

template <bool RELU, bool RESIDUAL, typename Value>
void backward(const Value* gradient, const Value* x, const Value* y, const float* scale, const float* shift,
              const float* mean, const float* inverse_std, int64_t rows, int64_t channels, Value* to_residual,
              double* sums) {
    reduce(rows, channels, rows_in_block<Value>(channels), sums, [&](int64_t first, int64_t last, float* partial) {
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
    });
    for (int64_t c = 0; c < channels; ++c) sums[channels + c] *= inverse_std[c];
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
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t at = row * channels + c;
            const Vector value = RESIDUAL ? load(to_residual + at)
                                          : through<RELU, false>(gradient + at, x + at, x + at, scale + c, shift + c);
            store(to_x + at, load(scale + c) * value + load(slope.data() + c) * load(x + at) + load(offset.data() + c));
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
}
