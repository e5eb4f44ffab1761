// Vectors of float of the processor's width, by the compiler's own extension, and a thread's memory.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Strides {  // in elements
    int64_t image, channel, row, column;
};

#if defined(__AVX512F__)
constexpr int MANY = 16;
#elif defined(__AVX__)
constexpr int MANY = 8;
#else
constexpr int MANY = 4;
#endif
typedef float Four __attribute__((vector_size(16)));
typedef float Many __attribute__((vector_size(MANY * 4)));  // the widest that the processor has

inline Many smaller(Many a, Many b) { return a < b ? a : b; }
inline Many larger(Many a, Many b) { return a > b ? a : b; }
inline Many all(float x) { return x - Many{}; }
inline Many size_of(Many x) { return larger(x, -x); }
inline Many clip(Many x) { return smaller(larger(x, Many{}), all(1)); }

inline Many load(const float* from) {
    Many values;
    std::memcpy(&values, from, sizeof values);
    return values;
}

inline void store(float* to, Many values) { std::memcpy(to, &values, sizeof values); }

// sum over `count` of weights[i] * sources[i][0..length); Whole vectors are read and written.
void weighted_sum(const float* const* sources, const float* weights, int count, int length, float* out) {
    int x = 0;
    for (; x + 4 * MANY <= length; x += 4 * MANY) {
        Many a = {}, b = {}, c = {}, d = {};
        for (int i = 0; i < count; ++i) {
            const float *from = sources[i] + x, weight = weights[i];
            a += weight * load(from);
            b += weight * load(from + MANY);
            c += weight * load(from + 2 * MANY);
            d += weight * load(from + 3 * MANY);
        }
        store(out + x, a);
        store(out + x + MANY, b);
        store(out + x + 2 * MANY, c);
        store(out + x + 3 * MANY, d);
    }
    for (; x < length; x += MANY) {
        Many a = {};
        for (int i = 0; i < count; ++i) a += weights[i] * load(sources[i] + x);
        store(out + x, a);
    }
}

int whole(int length) { return (length + MANY - 1) / MANY * MANY; }

// A thread's memory, kept between images.
struct Workspace {
    std::vector<float> planes, line, ring, sums, padded, rows, kernel;
    std::vector<const float*> sources;

    float* sized(std::vector<float>& part, size_t size) {
        if (part.size() < size) part.resize(size);
        return part.data();
    }
};

Workspace& workspace() {
    static thread_local Workspace mine;
    return mine;
}

}  // namespace
