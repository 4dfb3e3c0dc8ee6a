/* Crops of frames in the GPU's memory, sampled straight from the frame's own format into the network's input.
 *
 * The arithmetic is that of `sample/axis.rs`, `sample/scalar.rs` and `sample/colour.rs`, number by number: a crop has the same
 * bytes wherever it is sampled. So products and sums must not be contracted into one instruction (NVRTC: --fmad=false).
 * The file is C as well as CUDA C++: the tests compile it for the processor and compare. */

#ifdef __CUDACC__
#define INLINE static __device__ __forceinline__
#else
#include <math.h>
#define INLINE static inline
#endif

typedef unsigned char byte;
typedef unsigned int word;
typedef long long wide;

/* One colour component of a frame. */
struct Component {
    /* Address of its first sample. */
    unsigned long long data;
    /* In bytes. */
    int row_stride, pixel_stride;
    /* In samples. */
    int width, height;
};

/* What to cut out of which frame. The same in `task.rs`. */
struct Task {
    struct Component components[3];
    /* Of the crop in the frame's pixels: x and y. */
    double centre[2], size[2];
    double scale;
    /* In pixels: x and y. */
    int frame[2], network[2];
    /* Columns and rows of the input that show the whole frame, stretched over them; 0: a crop is shown. */
    int inside[2];
    /* All three colours where nothing is shown. */
    int ground;
    /* Whether the first sample of subsampled chroma lies on the first pixel: x and y. */
    int cosited[2];
    /* Bytes of a sample: 1, or 2 of which the upper ones count, little endian. */
    int sample_bytes;
    /* 0 R'G'B', 1 the same in limited range, 2 grey, 3 Y'CbCr. */
    int colour;
    /* y, v to r, u to g, v to g, u to b, black. */
    int matrix[6];
    /* Row of the batch that it fills. */
    int row;
};

enum { RGB, LIMITED_RGB, GREY, YUV };

enum {
    FULL = 1 << 12,
    COLUMN_BITS = 14,
    ROW_WEIGHT_BITS = 7,
    ROW_BITS = 6,
    MATRIX_BITS = 13,
    SHIFT = ROW_WEIGHT_BITS + COLUMN_BITS - ROW_BITS,
    LIMITED_BLACK = 16,
    /* 255 / 219 with MATRIX_BITS fraction bits, rounded. */
    LIMITED_TO_FULL = 9539
};

/* Where one column (or row) of the network lies in the frame. */
struct Place {
    double positions[2], share;
    int coverage;
};

/* Two neighbouring samples and how much each counts. */
struct Pair {
    int at, weights[2];
};

INLINE int rounded(double value) { return (int)(value + 0.5); }

INLINE double held(double value, double least, double most) {
    return value < least ? least : value > most ? most : value;
}

/* Column (or row) `d` of one axis; 0 where it does not touch the frame. */
INLINE int find_place(const struct Task *task, int axis, int d, struct Place *place) {
    double frame = task->frame[axis], network = task->network[axis], scale = task->scale;
    if (task->inside[axis] > 0) {
        double position = held((d + 0.5) * (frame / task->inside[axis]) - 0.5, 0.0, frame - 1.0);
        place->positions[0] = place->positions[1] = position;
        place->share = 0.0;
        place->coverage = FULL;
        return d < task->inside[axis];
    }
    double small = scale < 1.0 ? fmax(rint(frame * scale), 1.0) : frame;
    double step = task->size[axis] / network, ratio = frame / small, inverse = small / frame;
    double in_frame = task->centre[axis] + (d - network / 2.0) * step;
    double position = scale < 1.0 ? (in_frame + 0.5) * inverse - 0.5 : in_frame;
    if (!(position > -1.0 && position < small)) return 0;
    place->coverage = rounded(fmin(fmin(1.0 + position, small - position), 1.0) * FULL);
    if (place->coverage == 0) return 0;
    position = held(position, 0.0, small - 1.0);
    if (scale < 1.0) {
        double left = (word)position;
        place->positions[0] = held((left + 0.5) * ratio - 0.5, 0.0, frame - 1.0);
        place->positions[1] = held((fmin(left + 1.0, small - 1.0) + 0.5) * ratio - 0.5, 0.0, frame - 1.0);
        place->share = position - left;
    } else {
        place->positions[0] = place->positions[1] = position;
        place->share = 0.0;
    }
    return 1;
}

/* The pairs of samples of a place in a component that has one sample for every `step` pixels. */
INLINE void find_pairs(const struct Place *place, int count, int step, int cosited, int length, int bits, struct Pair *pairs) {
    double offset = cosited ? 0.0 : (step - 1.0) / (2.0 * step), samples_per_pixel = 1.0 / step;
    double unit = 1 << bits, sum = 0.0;
    int last_pair = length < 2 ? 0 : length - 2, given = 0, i, side;
    for (i = 0; i < count; i++) {
        double share = count == 1 ? 1.0 : i == 0 ? 1.0 - place->share : place->share;
        double position = held(place->positions[i] * samples_per_pixel - offset, 0.0, length - 1.0), right;
        pairs[i].at = (int)position < last_pair ? (int)position : last_pair;
        right = position - pairs[i].at;
        for (side = 0; side < 2; side++) {
            int upto;
            sum += share * (side == 0 ? 1.0 - right : right);
            upto = rounded(sum * unit);
            pairs[i].weights[side] = upto - given;
            given = upto;
        }
    }
}

INLINE int sample_at(const struct Component *component, int bytes, int x, int y) {
    const byte *at = (const byte *)component->data + (wide)y * component->row_stride + (wide)x * component->pixel_stride;
    return bytes == 1 ? at[0] : at[0] | at[1] << 8;
}

/* A component where the column and the row lie, with ROW_BITS fraction bits. */
INLINE int interpolate(const struct Task *task, const struct Component *component, int count, const struct Place *column,
                       const struct Place *row) {
    struct Pair columns[2], rows[2];
    int bytes = task->sample_bytes, shift = SHIFT + 8 * (bytes - 1), i, j, side;
    int across = (task->frame[0] + component->width - 1) / component->width;
    int down = (task->frame[1] + component->height - 1) / component->height;
    wide sum = (wide)1 << (shift - 1);
    find_pairs(column, count, across, task->cosited[0], component->width, COLUMN_BITS, columns);
    find_pairs(row, count, down, task->cosited[1], component->height, ROW_WEIGHT_BITS, rows);
    for (i = 0; i < count; i++) {
        for (side = 0; side < 2; side++) {
            int x = columns[i].at + side, blended = 0;
            /* Where there is but one sample, the second of a pair counts 0. */
            if (x > component->width - 1) x = component->width - 1;
            for (j = 0; j < count; j++) {
                int upper = rows[j].at, lower = upper + 1 < component->height ? upper + 1 : component->height - 1;
                blended += sample_at(component, bytes, x, upper) * rows[j].weights[0];
                blended += sample_at(component, bytes, x, lower) * rows[j].weights[1];
            }
            sum += (wide)blended * columns[i].weights[side];
        }
    }
    return (int)(sum >> shift);
}

/* A level with ROW_BITS fraction bits from a sum of products with MATRIX_BITS more. */
INLINE int level(int sum) {
    sum >>= MATRIX_BITS;
    return sum < 0 ? 0 : sum > 255 << ROW_BITS ? 255 << ROW_BITS : sum;
}

INLINE void write_pixel(const struct Task *task, int x, int y, byte *rgb) {
    struct Place column, row;
    int count = task->scale < 1.0 ? 2 : 1, values[3], i;
    word coverage;
    rgb[0] = rgb[1] = rgb[2] = (byte)task->ground;
    if (!find_place(task, 0, x, &column) || !find_place(task, 1, y, &row)) return;
    for (i = 0; i < (task->colour == GREY ? 1 : 3); i++)
        values[i] = interpolate(task, &task->components[i], count, &column, &row);
    if (task->colour == GREY) {
        values[1] = values[2] = values[0];
    } else if (task->colour == LIMITED_RGB) {
        for (i = 0; i < 3; i++) values[i] = level((values[i] - (LIMITED_BLACK << ROW_BITS)) * LIMITED_TO_FULL);
    } else if (task->colour == YUV) {
        const int *matrix = task->matrix;
        int luma = (values[0] - (matrix[5] << ROW_BITS)) * matrix[0];
        int u = values[1] - (128 << ROW_BITS), v = values[2] - (128 << ROW_BITS);
        values[0] = level(luma + v * matrix[1]);
        values[1] = level(luma + u * matrix[2] + v * matrix[3]);
        values[2] = level(luma + u * matrix[4]);
    }
    coverage = (word)column.coverage * (word)row.coverage;
    for (i = 0; i < 3; i++) {
        word value = (word)(values[i] + (1 << (ROW_BITS - 1))) >> ROW_BITS;
        /* What lies only partly inside the frame is darkened. */
        rgb[i] = (byte)((value * coverage + FULL * FULL / 2) / (FULL * FULL));
    }
}

#ifdef __CUDACC__
/* One thread a pixel; blockIdx.z is the task. `batch` is [rows, height, width, 3] bytes. */
extern "C" __global__ void crop(const struct Task *tasks, byte *batch) {
    const struct Task *task = &tasks[blockIdx.z];
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= task->network[0] || y >= task->network[1]) return;
    write_pixel(task, x, y, batch + (((wide)task->row * task->network[1] + y) * task->network[0] + x) * 3);
}
#else
void crop(const struct Task *task, byte *batch) {
    int x, y;
    for (y = 0; y < task->network[1]; y++)
        for (x = 0; x < task->network[0]; x++)
            write_pixel(task, x, y, batch + (((wide)task->row * task->network[1] + y) * task->network[0] + x) * 3);
}
#endif
