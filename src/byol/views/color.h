// Colour operations on the planes of one view, in place.
//
// HSV is never formed: with the largest channel v, the smallest m and span = v - m, saturation moves each channel along
// its distance from v, and hue, times span, is piecewise linear in the channels.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

namespace {

// The drawn parameters of one image: a row of the table that views/fused.py makes.
struct Settings {
    float pose, jitter, order[4], brightness, contrast, saturation, hue, grayscale, blur, sigma, solarize;
    float noise, noise_sigma, noise_seed;
};

enum Operation { BRIGHTNESS, CONTRAST, SATURATION, HUE };

constexpr float LUMA[3] = {0.2989f, 0.5870f, 0.1140f};
constexpr float TINY = 1e-30f;

double mean(const float* values, int count) {
    double sum = 0;
    int i = 0;
    for (; i + 16 * MANY <= count; i += 16 * MANY) {
        Many part = {};
        for (int j = 0; j < 16; ++j) part += load(values + i + j * MANY);
        for (int lane = 0; lane < MANY; ++lane) sum += part[lane];
    }
    for (; i < count; ++i) sum += values[i];
    return sum / count;
}

// `operation` on whole vectors of the three planes, in place; the last ones are padded.
template <typename Operation>
void each(float* planes, int count, const Operation& operation) {
    float *r = planes, *g = planes + count, *b = planes + 2 * size_t(count);
    int i = 0;
    for (; i + MANY <= count; i += MANY) {
        Many red = load(r + i), green = load(g + i), blue = load(b + i);
        operation(red, green, blue);
        store(r + i, clip(red));
        store(g + i, clip(green));
        store(b + i, clip(blue));
    }
    if (i == count) return;
    float rest[3][MANY] = {};
    for (int c = 0; c < 3; ++c) std::copy(planes + c * size_t(count) + i, planes + (c + 1) * size_t(count), rest[c]);
    Many red = load(rest[0]), green = load(rest[1]), blue = load(rest[2]);
    operation(red, green, blue);
    store(rest[0], clip(red));
    store(rest[1], clip(green));
    store(rest[2], clip(blue));
    for (int c = 0; c < 3; ++c) std::copy(rest[c], rest[c] + count - i, planes + c * size_t(count) + i);
}

// x * factor + offset, clipped: brightness and contrast.
void scale(float* x, int count, float factor, float offset) {
    int i = 0;
    for (; i + MANY <= count; i += MANY) store(x + i, clip(load(x + i) * factor + offset));
    for (; i < count; ++i) x[i] = std::min(std::max(x[i] * factor + offset, 0.0f), 1.0f);
}

void contrast(float* planes, int channels, int count, float factor, bool torchvision) {
    std::vector<double> means(channels);
    double grey = 0;
    for (int c = 0; c < channels; ++c) {
        means[c] = mean(planes + size_t(c) * count, count);
        grey += means[c] * (channels == 3 ? LUMA[c] : 1.0 / channels);
    }
    for (int c = 0; c < channels; ++c)
        scale(planes + size_t(c) * count, count, factor, float((torchvision ? grey : means[c]) * (1.0 - factor)));
}

void saturate(float* planes, int count, float factor) {
    const Many wanted = all(std::max(factor, 0.0f));
    each(planes, count, [=](Many& red, Many& green, Many& blue) {
        const Many most = larger(larger(red, green), blue), least = smaller(smaller(red, green), blue);
        const Many by = smaller(wanted, most / larger(most - least, all(TINY)));  // saturation at most 1
        red = most - (most - red) * by;
        green = most - (most - green) * by;
        blue = most - (most - blue) * by;
    });
}

void saturate_torchvision(float* planes, int count, float factor) {
    each(planes, count, [=](Many& red, Many& green, Many& blue) {
        const Many grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue;
        red = (red - grey) * factor + grey;
        green = (green - grey) * factor + grey;
        blue = (blue - grey) * factor + grey;
    });
}

void rotate_hue(float* planes, int count, float turns) {
    // In sixths of a turn: red is largest at 0, green at 2, blue at 4. What is added makes hue, from -1 to 5, the
    // distance from the nearest turn that has the channel at its top.
    float by[3];
    for (int c = 0; c < 3; ++c) {
        const double turned = 6 * (turns - std::floor(double(turns))) - 2 * c;
        by[c] = float(turned - 6 * std::nearbyint((turned + 2) / 6));
    }
    const float by_red = by[0], by_green = by[1], by_blue = by[2];
    each(planes, count, [=](Many& red, Many& green, Many& blue) {
        const Many most = larger(larger(red, green), blue), least = smaller(smaller(red, green), blue);
        const Many span = most - least;
        const Many if_red = green - blue, if_green = blue - red + 2 * span, if_blue = red - green + 4 * span;
        const Many unless_red = most == green ? if_green : if_blue;
        const Many hue = most == red ? if_red : unless_red;  // times span
        const Many for_red = size_of(size_of(hue + by_red * span) - 3 * span) - span;
        const Many for_green = size_of(size_of(hue + by_green * span) - 3 * span) - span;
        const Many for_blue = size_of(size_of(hue + by_blue * span) - 3 * span) - span;
        red = least + smaller(larger(for_red, Many{}), span);
        green = least + smaller(larger(for_green, Many{}), span);
        blue = least + smaller(larger(for_blue, Many{}), span);
    });
}

void grayscale(float* planes, int count) {
    each(planes, count, [](Many& red, Many& green, Many& blue) {
        red = green = blue = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue;
    });
}

// `bands`: gain and offset of each channel, or null.
void recolour(float* planes, int channels, int count, const Settings& s, const float* bands, bool torchvision) {
    const bool rgb = channels == 3;
    for (int position = 0; s.jitter && position < 4; ++position) {
        switch (int(s.order[position])) {
            case BRIGHTNESS:
                scale(planes, channels * count, torchvision ? 1 + s.brightness : 1, torchvision ? 0 : s.brightness);
                break;
            case CONTRAST:
                contrast(planes, channels, count, 1 + s.contrast, torchvision);
                break;
            case SATURATION:
                if (rgb) (torchvision ? saturate_torchvision : saturate)(planes, count, 1 + s.saturation);
                break;
            case HUE:
                if (rgb) rotate_hue(planes, count, s.hue);
        }
    }
    for (int c = 0; bands && c < channels; ++c)
        scale(planes + size_t(c) * count, count, bands[2 * c], bands[2 * c + 1]);
    if (s.grayscale && rgb) grayscale(planes, count);
}

}  // namespace
