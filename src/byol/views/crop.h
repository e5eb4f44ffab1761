// Crop, bicubic resize, flips and rotation of one image, four channels at a time.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "vectors.h"

namespace {

double cubic(double x) {  // Keys, a = -0.5
    x = std::fabs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

// Which pixels of a window's axis each output takes, and how much of each: `taps` from `first` on.
struct Axis {
    int taps = 0;
    std::vector<int> first;
    std::vector<float> weights;

    void set(int length, int size, bool antialias, bool flip, double unit) {
        const double scale = double(length) / size, stretch = antialias ? std::max(scale, 1.0) : 1.0;
        taps = int(std::min<double>(length, std::ceil(4 * stretch)));
        first.resize(size);
        weights.resize(size_t(size) * taps);
        std::vector<double> weight(taps);
        for (int output = 0; output < size; ++output) {
            const double centre = (output + 0.5) * scale - 0.5;
            const int start = std::clamp(int(std::floor(centre - 2 * stretch)) + 1, 0, length - taps);
            double sum = 0;
            for (int tap = 0; tap < taps; ++tap) sum += weight[tap] = cubic((start + tap - centre) / stretch);
            const int place = flip ? size - 1 - output : output;
            first[place] = start;
            for (int tap = 0; tap < taps; ++tap) weights[size_t(place) * taps + tap] = float(weight[tap] / sum * unit);
        }
    }
};

// (length, 4) floats of one source line of up to four channels.
template <int STEP, typename Pixel>
void widen(const Pixel* const from[4], int64_t step, int length, float* line) {
    const int64_t s = STEP ? STEP : step;
    const Pixel *a = from[0], *b = from[1], *c = from[2], *d = from[3];
    for (int x = 0; x < length; ++x) {
        line[4 * x] = a[x * s];
        line[4 * x + 1] = b[x * s];
        line[4 * x + 2] = c[x * s];
        line[4 * x + 3] = d[x * s];
    }
}

template <int TAPS>
void narrow(const Four* line, const Axis& axis, int size, Four* out) {
    const int taps = TAPS ? TAPS : axis.taps;
    for (int x = 0; x < size; ++x) {
        const Four* at = line + axis.first[x];
        const float* weight = &axis.weights[size_t(x) * taps];
        Four sum = weight[0] * at[0];
        for (int tap = 1; tap < taps; ++tap) sum += weight[tap] * at[tap];
        out[x] = sum;
    }
}

// How a view lies: bit 0 mirrors it left to right, bit 1 then top to bottom, the bits above are quarter turns after both,
// counter-clockwise. Value (y, x) of a view without turns and vertical flip goes to place start + y * row + x * column.
struct Pose {
    int64_t start, row, column;

    Pose(int pose, int64_t size) : start(0), row(size), column(1) {
        const int64_t last = size - 1, corners[4] = {0, last * size, last * size + last, last};
        const int64_t rows[4] = {size, 1, -size, -1}, columns[4] = {1, -size, -1, size};
        const int turns = pose >> 2;
        start = corners[turns];
        row = rows[turns];
        column = columns[turns];
        if (pose & 2) {
            start += last * row;
            row = -row;
        }
    }
};

// Planes (channels, size, size) in [0, 1] of the window (top, left, height, width) of an image of 8 or 16 bits.
template <typename Pixel>
void crop(const Pixel* image, const Strides& at, int channels, const int64_t window[4], int pose, int size,
          bool antialias, float* planes) {
    const Pose place(pose, size);
    static thread_local Axis vertical, horizontal;
    vertical.set(int(window[2]), size, antialias, false, 1.0 / std::numeric_limits<Pixel>::max());
    horizontal.set(int(window[3]), size, antialias, pose & 1, 1.0);
    Workspace& w = workspace();
    const int length = int(window[3]), taps = vertical.taps, padded = whole(4 * size);
    float* line = w.sized(w.line, 4 * size_t(length));
    float* ring = w.sized(w.ring, size_t(taps) * padded);  // the source lines in use, resized
    float* sums = w.sized(w.sums, padded);
    w.sources.resize(taps);
    for (int group = 0; group < channels; group += 4) {
        const int present = std::min(4, channels - group);
        int next = 0;  // the first source line not resized yet
        for (int y = 0; y < size; ++y) {
            const int first = vertical.first[y];
            for (next = std::max(next, first); next < first + taps; ++next) {
                const Pixel* from[4];
                for (int c = 0; c < 4; ++c)
                    from[c] = image + (group + std::min(c, present - 1)) * at.channel + (window[0] + next) * at.row +
                              window[1] * at.column;
                if (at.column == 1) widen<1>(from, 1, length, line);
                else if (at.column == 3) widen<3>(from, 3, length, line);
                else widen<0>(from, at.column, length, line);
                Four* into = reinterpret_cast<Four*>(ring + size_t(next % taps) * padded);
                const Four* row = reinterpret_cast<const Four*>(line);
                if (horizontal.taps == 4) narrow<4>(row, horizontal, size, into);
                else narrow<0>(row, horizontal, size, into);
            }
            for (int tap = 0; tap < taps; ++tap) w.sources[tap] = ring + size_t((first + tap) % taps) * padded;
            weighted_sum(w.sources.data(), &vertical.weights[size_t(y) * taps], taps, 4 * size, sums);
            for (int c = 0; c < present; ++c) {
                float* out = planes + size_t(group + c) * size * size + place.start + y * place.row;
                if (place.column == 1)
                    for (int x = 0; x < size; ++x) out[x] = std::min(std::max(sums[4 * x + c], 0.0f), 1.0f);
                else
                    for (int x = 0; x < size; ++x)
                        out[x * place.column] = std::min(std::max(sums[4 * x + c], 0.0f), 1.0f);
            }
        }
    }
}

}  // namespace
