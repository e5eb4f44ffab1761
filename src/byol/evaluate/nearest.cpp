// Exact nearest neighbours from approximate similarities. The error bound selects candidates; their products are then
// computed in float32. Similarities are bfloat16, vectors float32; both are stored row by row.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t LANES = 16;
constexpr int64_t BLOCK = 64;             // similarities tested together
constexpr float ROUNDING = 1.0f / 512;    // relative rounding error of a bfloat16
constexpr int64_t LINE = 16;              // floats in a cache line

struct Candidate {
    float value;
    int64_t place;
};

inline float widened(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline bool better(const Candidate& one, const Candidate& other) {
    return one.value > other.value || (one.value == other.value && one.place < other.place);
}

inline void fetch(const float* vector, int64_t width) {
    for (int64_t i = 0; i < width; i += LINE) __builtin_prefetch(vector + i);
}

float product(const float* one, const float* other, int64_t width) {
    float sums[LANES] = {}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES)
        for (int64_t lane = 0; lane < LANES; lane++) sums[lane] += one[i + lane] * other[i + lane];
    for (; i < width; i++) rest += one[i] * other[i];
    for (int64_t lane = 0; lane < LANES; lane++) rest += sums[lane];
    return rest;
}

// Removes all candidates that cannot be among the k best, and returns the least similarity that a further candidate
// needs. The bound and the bfloat16 rounding apply to both the k-th candidate and the further one.
float keep_possible(std::vector<Candidate>& candidates, int64_t k, float bound) {
    std::nth_element(candidates.begin(), candidates.begin() + (k - 1), candidates.end(), better);
    const float value = candidates[k - 1].value;
    const float least = value - 2.02f * (bound + ROUNDING * std::abs(value));
    const auto impossible = [=](const Candidate& candidate) { return candidate.value < least; };
    candidates.erase(std::remove_if(candidates.begin() + k, candidates.end(), impossible), candidates.end());
    return least;
}

void collect(const uint16_t* similar, int64_t columns, int64_t k, float bound, std::vector<Candidate>& candidates) {
    float least = -1e30f;
    size_t full = 4 * k;
    candidates.clear();
    for (int64_t first = 0; first < columns; first += BLOCK) {
        const int64_t last = std::min(first + BLOCK, columns);
        int passed = 0;
        for (int64_t j = first; j < last; j++) passed += widened(similar[j]) >= least;
        if (!passed) continue;
        for (int64_t j = first; j < last; j++)
            if (widened(similar[j]) >= least) candidates.push_back({widened(similar[j]), j});
        if (candidates.size() >= full) {
            least = keep_possible(candidates, k, bound);
            full = std::max<size_t>(4 * k, 2 * candidates.size());
        }
    }
    keep_possible(candidates, k, bound);
}

}  // namespace

// Writes the k <= columns largest products of each row to `values` and their columns to `places`, largest first.
// `similar` (rows, columns) holds the products of `queries` (rows, width) and `bank` (columns, width); before it was rounded
// to bfloat16, each was within `bound` of the exact product.
extern "C" void nearest_exact(const uint16_t* similar, int64_t rows, int64_t columns, const float* queries,
                              const float* bank, int64_t width, float bound, int64_t k, float* values,
                              int64_t* places) {
#pragma omp parallel
    {
        std::vector<Candidate> candidates;
#pragma omp for schedule(dynamic, 8)
        for (int64_t row = 0; row < rows; row++) {
            collect(similar + row * columns, columns, k, bound, candidates);
            for (size_t i = 0; i < candidates.size(); i++) {
                if (i + 1 < candidates.size()) fetch(bank + candidates[i + 1].place * width, width);
                candidates[i].value = product(queries + row * width, bank + candidates[i].place * width, width);
            }
            std::partial_sort(candidates.begin(), candidates.begin() + k, candidates.end(), better);
            for (int64_t i = 0; i < k; i++) {
                values[row * k + i] = candidates[i].value;
                places[row * k + i] = candidates[i].place;
            }
        }
    }
}
