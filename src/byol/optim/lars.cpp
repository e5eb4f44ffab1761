// LARS over many float32 tensors in two passes: the norms, then buffer and weights. The sums do not depend on the number
// of threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t CHUNK = 1 << 14;

struct Part {
    int64_t tensor, first, last;
};

}  // namespace

extern "C" void lars_step(int64_t count, float* const* weights, const float* const* gradients, float* const* buffers,
                          const int64_t* sizes, float rate, float momentum, float decay, float trust, int adapt) {
    std::vector<Part> parts;
    for (int64_t tensor = 0; tensor < count; ++tensor)
        for (int64_t first = 0; first < sizes[tensor]; first += CHUNK)
            parts.push_back({tensor, first, std::min(first + CHUNK, sizes[tensor])});
    const int64_t num_parts = (int64_t)parts.size();
    std::vector<double> squares(2 * parts.size(), 0.0);
    std::vector<float> ratio(count, 1.0f);

    if (adapt) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < num_parts; ++i) {
            const float *weight = weights[parts[i].tensor], *gradient = gradients[parts[i].tensor];
            float of_weight = 0, of_gradient = 0;
#pragma omp simd reduction(+ : of_weight, of_gradient)
            for (int64_t k = parts[i].first; k < parts[i].last; ++k) {
                const float decayed = gradient[k] + decay * weight[k];
                of_weight += weight[k] * weight[k];
                of_gradient += decayed * decayed;
            }
            squares[2 * i] = of_weight;
            squares[2 * i + 1] = of_gradient;
        }
        std::vector<double> sums(2 * count, 0.0);
        for (int64_t i = 0; i < num_parts; ++i)
            for (int k : {0, 1}) sums[2 * parts[i].tensor + k] += squares[2 * i + k];
        for (int64_t tensor = 0; tensor < count; ++tensor) {
            const double of_weight = sums[2 * tensor], of_gradient = sums[2 * tensor + 1];
            if (of_weight > 0 && of_gradient > 0) ratio[tensor] = (float)(trust * std::sqrt(of_weight / of_gradient));
        }
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < num_parts; ++i) {
        const int64_t tensor = parts[i].tensor;
        float *weight = weights[tensor], *buffer = buffers[tensor];
        const float* gradient = gradients[tensor];
        const float by = ratio[tensor];
#pragma omp simd
        for (int64_t k = parts[i].first; k < parts[i].last; ++k) {
            buffer[k] = momentum * buffer[k] + by * (gradient[k] + decay * weight[k]);
            weight[k] -= rate * buffer[k];
        }
    }
}
