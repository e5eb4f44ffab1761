// The exact nearest neighbours of vectors, from similarities that are known to a bound: candidates by the bound, then
// their products in float32. Similarities are bfloat16, vectors float32, both row by row.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t LANES = 16;
constexpr int64_t BLOCK = 64;             // similarities that are looked at together
constexpr float ROUNDING = 1.0f / 512;    // of a bfloat16, relative
constexpr int64_t LINE = 16;              // floats of a line of the cache

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

// Leaves those that may be among the k best, and gives the least similarity that a further one needs: both it and the
// k-th one may be off by the bound and by their own rounding.
float keep_possible(std::vector<Candidate>& found, int64_t k, float bound) {
    std::nth_element(found.begin(), found.begin() + (k - 1), found.end(), better);
    const float value = found[k - 1].value;
    const float least = value - 2.02f * (bound + ROUNDING * std::abs(value));
    found.erase(std::remove_if(found.begin() + k, found.end(), [=](const Candidate& c) { return c.value < least; }),
                found.end());
    return least;
}

void collect(const uint16_t* similar, int64_t columns, int64_t k, float bound, std::vector<Candidate>& found) {
    float least = -1e30f;
    size_t full = 4 * k;
    found.clear();
    for (int64_t first = 0; first < columns; first += BLOCK) {
        const int64_t last = std::min(first + BLOCK, columns);
        int passed = 0;
        for (int64_t j = first; j < last; j++) passed += widened(similar[j]) >= least;
        if (!passed) continue;
        for (int64_t j = first; j < last; j++)
            if (widened(similar[j]) >= least) found.push_back({widened(similar[j]), j});
        if (found.size() >= full) {
            least = keep_possible(found, k, bound);
            full = std::max<size_t>(4 * k, 2 * found.size());
        }
    }
    keep_possible(found, k, bound);
}

}  // namespace

// similar (rows, columns): of `queries` (rows, width) and `bank` (columns, width), each within `bound` of the product before it
// was rounded to bfloat16.
// Writes the k <= columns largest products of each row and their columns, largest first.
extern "C" void nearest_exact(const uint16_t* similar, int64_t rows, int64_t columns, const float* queries,
                              const float* bank, int64_t width, float bound, int64_t k, float* values,
                              int64_t* places) {
#pragma omp parallel
    {
        std::vector<Candidate> found;
#pragma omp for schedule(dynamic, 8)
        for (int64_t row = 0; row < rows; row++) {
            collect(similar + row * columns, columns, k, bound, found);
            for (size_t i = 0; i < found.size(); i++) {
                if (i + 1 < found.size()) fetch(bank + found[i + 1].place * width, width);
                found[i].value = product(queries + row * width, bank + found[i].place * width, width);
            }
            std::partial_sort(found.begin(), found.begin() + k, found.end(), better);
            for (int64_t i = 0; i < k; i++) {
                values[row * k + i] = found[i].value;
                places[row * k + i] = found[i].place;
            }
        }
    }
}
