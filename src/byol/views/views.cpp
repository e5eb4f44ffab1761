// Augmented views of a batch on a CPU: one image is one thread's work and stays in its cache from crop to solarize.
// The arithmetic is that of views/augment.py, image by image. Here: blur, solarize, and the functions that Python calls.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "color.h"
#include "crop.h"
#include "noise.h"
#include "vectors.h"

namespace {

constexpr double NEGLIGIBLE = 1e-8;  // blur weights below it are left out: the sum of all is 1

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

// Planes to the output, blurred, solarized and with noise where the settings say so.
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
            if (s.noise) add_noise(row, size, uint32_t((c * size + y) * size), s.noise_sigma, uint32_t(s.noise_seed));
        }
        write(rows, channels, stride, size, at, out + y * at.row);
    }
}

// `crop` of image number `i` of a batch whose pixels have `bytes` bytes.
void crop_one(const void* images, int bytes, const Strides& from, int i, int channels, const int64_t* windows, int pose,
              int size, bool antialias, float* planes) {
    const int64_t* window = windows + 4 * int64_t(i);
    const int64_t start = i * from.image;
    if (bytes == 1) crop(static_cast<const uint8_t*>(images) + start, from, channels, window, pose, size, antialias, planes);
    else crop(static_cast<const uint16_t*>(images) + start, from, channels, window, pose, size, antialias, planes);
}

const float* bands_of(const float* bands, int channels, int image) {
    return bands ? bands + 2 * size_t(image) * channels : nullptr;
}

float* planes_for(int channels, int size) {
    Workspace& w = workspace();
    return w.sized(w.planes, size_t(channels) * size * size + 4 * MANY);  // whole vectors are read beyond a row
}

}  // namespace

extern "C" {

// (count, channels, size, size) views of images with pixels of 1 or 2 bytes. `windows` (count, 4) int64, `settings`
// (count, 17) float32, `bands` null or (count, channels, 2) float32: gains and offsets.
void augment(const void* images, int bytes, const Strides* from, const int64_t* windows, const Settings* settings,
             const float* bands, int count, int channels, int size, int antialias, int torchvision, float threshold, int threads,
             float* out, const Strides* to) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < count; ++i) {
        float* planes = planes_for(channels, size);
        crop_one(images, bytes, *from, i, channels, windows, int(settings[i].pose), size, antialias, planes);
        recolour(planes, channels, size * size, settings[i], bands_of(bands, channels, i), torchvision);
        finish(planes, channels, size, settings[i], threshold, torchvision, *to, out + i * to->image);
    }
}

// The first half: crop, resize, flips and rotation.
void random_crop(const void* images, int bytes, const Strides* from, const int64_t* windows, const uint8_t* poses,
                 int count, int channels, int size, int antialias, int threads, float* out) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < count; ++i) {
        float* planes = out + size_t(i) * channels * size * size;
        crop_one(images, bytes, *from, i, channels, windows, poses[i], size, antialias, planes);
    }
}

// The second half, on float crops in [0, 1].
void distort(const float* crops, const Strides* from, const Settings* settings, const float* bands, int count,
             int channels, int size, int torchvision, float threshold, int threads, float* out, const Strides* to) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (int i = 0; i < count; ++i) {
        float* planes = planes_for(channels, size);
        for (int c = 0; c < channels; ++c)
            for (int y = 0; y < size; ++y) {
                const float* row = crops + i * from->image + c * from->channel + y * from->row;
                float* into = planes + (size_t(c) * size + y) * size;
                for (int x = 0; x < size; ++x) into[x] = row[x * from->column];
            }
        recolour(planes, channels, size * size, settings[i], bands_of(bands, channels, i), torchvision);
        finish(planes, channels, size, settings[i], threshold, torchvision, *to, out + i * to->image);
    }
}
}
