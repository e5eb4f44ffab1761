// Augmented views of a batch on a CPU: one image is one thread's work and stays in its cache from crop to solarize.
//
// The arithmetic is that of views/augment.py, image by image. HSV is never formed: with the largest channel v, the
// smallest m and span = v - m, saturation moves each channel along its distance from v, and hue, times span, is
// piecewise linear in the channels. Vectors are the compiler's own, of whatever width the processor has.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// The drawn parameters of one image: a row of the table that views/fused.py makes.
struct Settings {
    float flip, jitter, order[4], brightness, contrast, saturation, hue, grayscale, blur, sigma, solarize;
};

struct Strides {  // in elements
    int64_t image, channel, row, column;
};

enum Operation { BRIGHTNESS, CONTRAST, SATURATION, HUE };

#if defined(__AVX512F__)
constexpr int MANY = 16;
#elif defined(__AVX__)
constexpr int MANY = 8;
#else
constexpr int MANY = 4;
#endif
typedef float Four __attribute__((vector_size(16)));
typedef float Many __attribute__((vector_size(MANY * 4)));  // the widest that the processor has

constexpr float LUMA[3] = {0.2989f, 0.5870f, 0.1140f};
constexpr float TINY = 1e-30f;
constexpr double NEGLIGIBLE = 1e-8;  // blur weights below it are left out: the sum of all is 1

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

// ---- crop and resize

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
template <int STEP>
void widen(const uint8_t* const from[4], int64_t step, int length, float* line) {
    const int64_t s = STEP ? STEP : step;
    const uint8_t *a = from[0], *b = from[1], *c = from[2], *d = from[3];
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

// Planes (channels, size, size) in [0, 1] of the window (top, left, height, width) of an image.
void crop(const uint8_t* image, const Strides& at, int channels, const int64_t window[4], bool flip, int size,
          bool antialias, float* planes) {
    static thread_local Axis vertical, horizontal;
    vertical.set(int(window[2]), size, antialias, false, 1.0 / 255);
    horizontal.set(int(window[3]), size, antialias, flip, 1.0);
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
                const uint8_t* from[4];
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
                float* out = planes + (size_t(group + c) * size + y) * size;
                for (int x = 0; x < size; ++x) out[x] = std::min(std::max(sums[4 * x + c], 0.0f), 1.0f);
            }
        }
    }
}

// ---- colour

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

void recolour(float* planes, int channels, int count, const Settings& s, bool torchvision) {
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
    if (s.grayscale && rgb) grayscale(planes, count);
}

// ---- blur, solarize, and the way out

// The weights of taps -radius..radius, without those that are negligible.
int gaussian(double sigma, int radius, std::vector<float>& kernel) {
    double sum = 0;
    std::vector<double> weight(radius + 1);
    for (int x = 0; x <= radius; ++x) {
        weight[x] = std::exp(-(double(x) * x) / (2 * sigma * sigma));
        sum += x ? 2 * weight[x] : weight[x];
    }
    while (radius && weight[radius] / sum < NEGLIGIBLE) --radius;
    kernel.resize(2 * radius + 1);
    for (int x = -radius; x <= radius; ++x) kernel[x + radius] = float(weight[std::abs(x)] / sum);
    return radius;
}

// Row y of a blurred plane. Outside is zero; with `reflect` the picture mirrored about its outermost pixels.
void blurred_row(const float* plane, int size, int y, int radius, bool reflect, float* out) {
    Workspace& w = workspace();
    const float* kernel = w.kernel.data();
    const int margin = whole(radius), taps = 2 * radius + 1;
    float* padded = w.sized(w.padded, size_t(2) * margin + whole(size) + MANY);
    int used = 0, lowest = 0;
    w.sources.resize(taps);
    for (int tap = 0; tap < taps; ++tap) {
        int row = y + tap - radius;
        if (reflect) row = row < 0 ? -row : (row >= size ? 2 * size - 2 - row : row);
        if (row < 0) ++lowest;
        else if (row < size) w.sources[used++] = plane + size_t(row) * size;
    }
    float* line = padded + margin;
    weighted_sum(w.sources.data(), kernel + lowest, used, size, line);
    for (int x = 1; x <= radius; ++x) {
        line[-x] = reflect ? line[x] : 0;
        line[size - 1 + x] = reflect ? line[size - 1 - x] : 0;
    }
    for (int tap = 0; tap < taps; ++tap) w.sources[tap] = line + tap - radius;
    weighted_sum(w.sources.data(), kernel, taps, size, out);
}

void write(const float* rows, int channels, int stride, int size, const Strides& at, float* out) {
    if (at.column == 3 && at.channel == 1 && channels == 3) {
        const float *r = rows, *g = rows + stride, *b = rows + 2 * stride;
        for (int x = 0; x < size; ++x) {
            out[3 * x] = r[x];
            out[3 * x + 1] = g[x];
            out[3 * x + 2] = b[x];
        }
        return;
    }
    for (int c = 0; c < channels; ++c)
        for (int x = 0; x < size; ++x) out[c * at.channel + x * at.column] = rows[c * stride + x];
}

// Planes to the output, blurred and solarized where the settings say so.
void finish(const float* planes, int channels, int size, const Settings& s, float threshold, bool torchvision,
            const Strides& at, float* out) {
    Workspace& w = workspace();
    const int stride = whole(size);
    float* rows = w.sized(w.rows, size_t(channels) * stride);
    const int radius = s.blur ? gaussian(s.sigma, size / 20, w.kernel) : 0;
    for (int y = 0; y < size; ++y) {
        for (int c = 0; c < channels; ++c) {
            const float* plane = planes + size_t(c) * size * size;
            float* row = rows + c * stride;
            if (radius) blurred_row(plane, size, y, radius, torchvision, row);
            else std::memcpy(row, plane + size_t(y) * size, size * sizeof(float));
            for (int x = 0; x < size; x += MANY) {
                const Many value = load(row + x);
                store(row + x, clip(s.solarize ? (value < threshold ? value : 1 - value) : value));
            }
        }
        write(rows, channels, stride, size, at, out + y * at.row);
    }
}

float* planes_for(int channels, int size) {
    Workspace& w = workspace();
    return w.sized(w.planes, size_t(channels) * size * size + 4 * MANY);  // whole vectors are read beyond a row
}

}  // namespace

extern "C" {

// (count, channels, size, size) views of uint8 images. `windows` (count, 4) int64 and `settings` (count, 14) float32.
void augment(const uint8_t* images, const Strides* from, const int64_t* windows, const Settings* settings, int count,
             int channels, int size, int antialias, int torchvision, float threshold, int threads, float* out,
             const Strides* to) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < count; ++i) {
        float* planes = planes_for(channels, size);
        crop(images + i * from->image, *from, channels, windows + 4 * i, settings[i].flip, size, antialias, planes);
        recolour(planes, channels, size * size, settings[i], torchvision);
        finish(planes, channels, size, settings[i], threshold, torchvision, *to, out + i * to->image);
    }
}

// The first half: crop, resize and flip.
void random_crop(const uint8_t* images, const Strides* from, const int64_t* windows, const uint8_t* flips, int count,
                 int channels, int size, int antialias, int threads, float* out) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < count; ++i) {
        float* planes = out + size_t(i) * channels * size * size;
        crop(images + i * from->image, *from, channels, windows + 4 * i, flips[i], size, antialias, planes);
    }
}

// The second half, on float crops in [0, 1].
void distort(const float* crops, const Strides* from, const Settings* settings, int count, int channels, int size,
             int torchvision, float threshold, int threads, float* out, const Strides* to) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < count; ++i) {
        float* planes = planes_for(channels, size);
        for (int c = 0; c < channels; ++c)
            for (int y = 0; y < size; ++y) {
                const float* row = crops + i * from->image + c * from->channel + y * from->row;
                float* into = planes + (size_t(c) * size + y) * size;
                for (int x = 0; x < size; ++x) into[x] = row[x * from->column];
            }
        recolour(planes, channels, size * size, settings[i], torchvision);
        finish(planes, channels, size, settings[i], threshold, torchvision, *to, out + i * to->image);
    }
}
}
