/* Lines with round ends on a frame in the GPU's memory, in their order: the arithmetic of `overlay/canvas.rs`, number by number,
 * so products and sums must not be contracted (NVRTC: --fmad=false). C as well as CUDA C++, for the tests. */

#ifdef __CUDACC__
#define INLINE static __device__ __forceinline__
#else
#include <math.h>
#define INLINE static inline
#endif

typedef unsigned char byte;
typedef unsigned int word;
typedef long long wide;

/* A line. The same in `painter.rs`. */
struct Stroke {
    /* In square pixels. */
    float from[2];
    /* Its direction, of length 1, and its length. */
    float direction[2], length;
    /* From its middle to where it begins to fade. */
    float radius;
    /* In the frame's own format. */
    byte paint[4];
};

/* Components whose samples lie at the same positions. The same in `painter.rs`. */
struct Layer {
    /* Addresses of the components' first samples. */
    unsigned long long data[4];
    /* In bytes. */
    int row_stride, pixel_stride;
    /* In samples. */
    int width, height;
    /* Square pixels from one sample to the next, and where the first one lies: x and y. */
    float step[2], origin[2];
    /* Components, and which part of the paint is whose. */
    int components, part[4];
};

/* A square of samples, and its lines: so many of the list, from the first one on. */
struct Tile {
    int x, y, first, count;
};

enum { SIDE = 32 };

/* How much of the sample lies under the line, 0 to 256. */
INLINE int coverage(const struct Stroke *stroke, const struct Layer *layer, int column, int row) {
    float softness = (layer->step[0] + layer->step[1]) / 2.0f, outer = stroke->radius + softness / 2.0f;
    float scale = 256.0f / softness;
    float x = layer->origin[0] + (float)column * layer->step[0] - stroke->from[0];
    float y = layer->origin[1] + (float)row * layer->step[1] - stroke->from[1];
    float ux = stroke->direction[0], uy = stroke->direction[1];
    float along = x * ux + y * uy, across = x * uy - y * ux;
    float beyond = along - fminf(fmaxf(along, 0.0f), stroke->length);
    float distance = sqrtf(across * across + beyond * beyond);
    float covered = fminf(fmaxf((outer - distance) * scale, 0.0f), 256.0f);
    return (int)rintf(covered);
}

/* `old` with `covered` / 256 of the way to `paint`, rounded down. */
INLINE byte blend(byte old, byte paint, int covered) {
    int way = ((int)paint - (int)old) * 128;
    return (byte)((int)old + ((way * (covered * 2)) >> 16));
}

INLINE void paint_sample(const struct Layer *layer, const struct Stroke *strokes, const word *list, int count, int x, int y) {
    int index, component;
    if (x >= layer->width || y >= layer->height) return;
    for (index = 0; index < count; index++) {
        const struct Stroke *stroke = &strokes[list[index]];
        int covered = coverage(stroke, layer, x, y);
        if (covered == 0) continue;
        for (component = 0; component < layer->components; component++) {
            byte *sample = (byte *)layer->data[component] + (wide)y * layer->row_stride + (wide)x * layer->pixel_stride;
            *sample = blend(*sample, stroke->paint[layer->part[component]], covered);
        }
    }
}

#ifdef __CUDACC__
/* One block a tile; each of its threads has every eighth row of a column. */
extern "C" __global__ void draw(struct Layer layer, const struct Stroke *strokes, const struct Tile *tiles, const word *list) {
    struct Tile tile = tiles[blockIdx.x];
    int row;
    for (row = threadIdx.y; row < SIDE; row += blockDim.y)
        paint_sample(&layer, strokes, list + tile.first, tile.count, tile.x + threadIdx.x, tile.y + row);
}
#else
void draw(const struct Layer *layer, const struct Stroke *strokes, const struct Tile *tiles, int count, const word *list) {
    int tile, x, y;
    for (tile = 0; tile < count; tile++)
        for (y = 0; y < SIDE; y++)
            for (x = 0; x < SIDE; x++)
                paint_sample(layer, strokes, list + tiles[tile].first, tiles[tile].count, tiles[tile].x + x, tiles[tile].y + y);
}
#endif
