/* The kernels of our operators, for tensors in half precision if HALF is defined, and otherwise in float32. All compute in float32.
 * C as well as CUDA C++, for the tests, which are in float32. */

typedef unsigned int uint;
typedef unsigned long long wide;

#ifdef HALF
typedef unsigned short number;
#else
typedef float number;
#endif

#define LANES (16 / sizeof(number))

#ifdef __CUDACC__

#define INLINE static __device__ __forceinline__
#define KERNEL extern "C" __global__
#define ALIGNED __attribute__((aligned(16)))
#define EACH_THREAD(index, count)                                                                                            \
    uint index = blockIdx.x * blockDim.x + threadIdx.x;                                                                      \
    if (index < count)
/* A warp works on each index; this thread is its `LANE`th of WARP. */
#define EACH_WARP(index, count)                                                                                              \
    uint index = (blockIdx.x * blockDim.x + threadIdx.x) / WARP;                                                             \
    if (index < count)
#define WARP 32
#define LANE (threadIdx.x % WARP)
/* A block works on each index; this thread is its `PART`th of PARTS, which are at most 8 warps. */
#define EACH_BLOCK(index, count)                                                                                             \
    uint index = blockIdx.x;                                                                                                 \
    if (index < count)
#define PART threadIdx.x
#define PARTS blockDim.x
#define UNROLL _Pragma("unroll")

/* Exact to about 1e-6 of the result. */
INLINE float silu(float value) { return __fdividef(value, 1.0f + __expf(-value)); }

/* The value of the thread that is `distance` away in the warp. */
INLINE float across(float value, int distance) { return __shfl_xor_sync(0xffffffff, value, distance); }

#else

#include <math.h>
#define INLINE static inline
#define KERNEL
#define ALIGNED
#define EACH_THREAD(index, count)                                                                                            \
    uint index;                                                                                                              \
    for (index = 0; index < count; index++)
#define EACH_WARP(index, count) EACH_THREAD(index, count)
#define WARP 1
#define LANE 0
#define EACH_BLOCK(index, count) EACH_THREAD(index, count)
#define PART 0
#define PARTS 1
#define UNROLL

INLINE float silu(float value) { return value / (1.0f + expf(-value)); }

INLINE float across(float value, int distance) {
    (void)distance;
    return value;
}

#endif

#ifdef HALF

INLINE float get(number bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

INLINE number put(float value) {
    number bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

#else

INLINE float get(number value) { return value; }
INLINE number put(float value) { return value; }

#endif

/* Numbers in sequence that a thread reads and writes at once. */
struct Vector {
    number lane[LANES];
} ALIGNED;

#ifdef __CUDACC__

/* A copy of a Vector may be made number by number. */
union Bits {
    uint4 all;
    struct Vector vector;
};

INLINE struct Vector read(const struct Vector *from) {
    union Bits bits;
    bits.all = *(const uint4 *)from;
    return bits.vector;
}

INLINE void write(struct Vector *to, struct Vector vector) {
    union Bits bits;
    bits.vector = vector;
    *(uint4 *)to = bits.all;
}

#else

INLINE struct Vector read(const struct Vector *from) { return *from; }
INLINE void write(struct Vector *to, struct Vector vector) { *to = vector; }

#endif

/* SiLU(x + bias[channel]), where SiLU(v) = v / (1 + exp(-v)), plus the numbers of `added` if there are any. `inner` numbers of one
 * channel come in sequence. */
KERNEL void bias_silu(const number *from, const number *bias, const number *added, number *to, uint count, uint channels,
                      uint inner) {
    EACH_THREAD(index, count) {
        float value = silu(get(from[index]) + get(bias[index / inner % channels]));
        to[index] = put(added ? value + get(added[index]) : value);
    }
}

INLINE struct Vector silu_of(struct Vector values, struct Vector shifts, const struct Vector *added) {
    struct Vector sums = values;
    uint lane;
    if (added) sums = read(added);
    for (lane = 0; lane < LANES; lane++) {
        float value = silu(get(values.lane[lane]) + get(shifts.lane[lane]));
        values.lane[lane] = put(added ? value + get(sums.lane[lane]) : value);
    }
    return values;
}

/* The same for `count` vectors, each of one channel. */
KERNEL void bias_silu_of_rows(const struct Vector *from, const number *bias, const struct Vector *added, struct Vector *to,
                              uint count, uint channels, uint inner) {
    EACH_THREAD(index, count) {
        number shift = bias[(uint)(index * LANES) / inner % channels];
        struct Vector shifts;
        uint lane;
        for (lane = 0; lane < LANES; lane++) shifts.lane[lane] = shift;
        write(to + index, silu_of(read(from + index), shifts, added ? added + index : 0));
    }
}

/* The same for `count` vectors of channels in sequence; `inner` is 1. */
KERNEL void bias_silu_of_channels(const struct Vector *from, const struct Vector *bias, const struct Vector *added,
                                  struct Vector *to, uint count, uint channels, uint inner) {
    (void)inner;
    EACH_THREAD(index, count) {
        struct Vector shifts = read(bias + index % (uint)(channels / LANES));
        write(to + index, silu_of(read(from + index), shifts, added ? added + index : 0));
    }
}

INLINE void add_products(float *sums, struct Vector values, struct Vector factors) {
    uint lane;
    for (lane = 0; lane < LANES; lane++) sums[lane] = fmaf(get(values.lane[lane]), get(factors.lane[lane]), sums[lane]);
}

INLINE struct Vector silu_of_sums(const float *sums) {
    struct Vector answers;
    uint lane;
    for (lane = 0; lane < LANES; lane++) answers.lane[lane] = put(silu(sums[lane]));
    return answers;
}

INLINE struct Vector read_inside(const struct Vector *from, int is_inside) {
    struct Vector zeros = {{0}};
    return is_inside ? read(from) : zeros;
}

#define LARGEST_SIDE 5
#define LARGEST_STRIDE 2

/* SiLU of a convolution of each channel by itself with its bias. A square of `side` weights for each channel, `[side,side,channels]`,
 * moves by `stride` over pictures of `width` and `height`, `[N,height,width,channels]`, around which all is 0. This computes a vector
 * of channels of two pixels, which share what is read. The compiler knows `side` and `stride`, so that a row's reads are under way at
 * once. */
INLINE void depthwise(uint index, const struct Vector *from, const struct Vector *weights, const struct Vector *bias,
                      struct Vector *to, uint channels, int width, int height, const int side, const int stride) {
    int vectors = (int)(channels / LANES), vector = (int)index % vectors, pair = (int)index / vectors;
    int columns = (width - 1) / stride + 1, rows = (height - 1) / stride + 1, pairs = (columns + 1) / 2;
    int x = pair % pairs * 2, y = pair / pairs % rows, picture = pair / pairs / rows, row, column;
    wide answer = ((wide)picture * rows + y) * columns + x;
    const struct Vector *pixels = from + (wide)picture * height * width * vectors + vector;
    struct Vector shifts = read(bias + vector);
    float sums[2][LANES];
    uint lane;
    for (lane = 0; lane < LANES; lane++) sums[0][lane] = sums[1][lane] = get(shifts.lane[lane]);
    for (row = 0; row < side; row++) {
        int of = y * stride + row - side / 2, is_row = of >= 0 && of < height;
        struct Vector values[LARGEST_SIDE + LARGEST_STRIDE], factors[LARGEST_SIDE];
        UNROLL for (column = 0; column < side + stride; column++) {
            int at = x * stride + column - side / 2;
            values[column] =
                read_inside(pixels + ((long long)of * width + at) * vectors, is_row && at >= 0 && at < width);
        }
        UNROLL for (column = 0; column < side; column++)
            factors[column] = read(weights + (row * side + column) * vectors + vector);
        UNROLL for (column = 0; column < side; column++) {
            add_products(sums[0], values[column], factors[column]);
            add_products(sums[1], values[column + stride], factors[column]);
        }
    }
    write(to + answer * vectors + vector, silu_of_sums(sums[0]));
    if (x + 1 < columns) write(to + (answer + 1) * vectors + vector, silu_of_sums(sums[1]));
}

/* `count` pairs of pixels. */
#define DEPTHWISE(name, side, stride)                                                                                        \
    KERNEL void name(const struct Vector *from, const struct Vector *weights, const struct Vector *bias, struct Vector *to,  \
                     uint count, uint channels, int width, int height) {                                                     \
        EACH_THREAD(index, count) depthwise(index, from, weights, bias, to, channels, width, height, side, stride);          \
    }

DEPTHWISE(depthwise_3, 3, 1)
DEPTHWISE(depthwise_5, 5, 1)
DEPTHWISE(depthwise_3_by_2, 3, 2)
DEPTHWISE(depthwise_5_by_2, 5, 2)

#define LARGEST_DEPTH 4
/* Columns of an answer that a warp computes: one thread has 8 of a row in sequence. */
#define BREADTH 32

#ifdef __CUDACC__

#ifdef HALF
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
INLINE uint factor(uint bits) { return bits; }
#else
#define MMA "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
/* Tensor cores cut the last 13 bits off, which would make all products too small. */
INLINE uint factor(uint bits) {
    uint rounded = bits;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
#endif
    return rounded;
}
#endif

INLINE uint4 factors_inside(const number *row, uint at, uint count, int is_inside) {
    uint4 bits = {0, 0, 0, 0};
    if (is_inside && at < count) bits = *(const uint4 *)(row + at);
    uint4 factors = {factor(bits.x), factor(bits.y), factor(bits.z), factor(bits.w)};
    return factors;
}

INLINE void multiply_half(float *sums, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) {
#if __CUDA_ARCH__ >= 800
    asm(MMA "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
    __trap();
#endif
}

/* Adds the products of 16 rows and 8 columns to a warp's `sums`. Four threads in sequence share a row, the 8th after it, and a column,
 * of which each thread has the same 16 bytes: the order in which products are added does not matter. */
INLINE void multiply(float *sums, uint4 row, uint4 eighth, uint4 column) {
    multiply_half(sums, row.x, eighth.x, row.y, eighth.y, column.x, column.y);
    multiply_half(sums, row.z, eighth.z, row.w, eighth.w, column.z, column.w);
}

/* A warp computes 16 rows and BREADTH columns. It reads 4 * LANES factors of each `depth` times at once. */
INLINE void pointwise(uint index, const number *from, const number *weights, const number *bias, const number *added,
                      number *to, uint rows, uint inputs, uint outputs, const int depth) {
    uint across = (outputs + BREADTH - 1) / BREADTH, left = index % across * BREADTH;
    uint top = index / across * 16 + LANE / 4, part = LANE % 4, channel = left + part * 8, start;
    float sums[BREADTH / 8][4] = {{0.0f}};
    int step, column, lower, piece, lane;
    for (start = 0; start < inputs; start += depth * 4 * LANES) {
        uint4 values[LARGEST_DEPTH][2], factors[LARGEST_DEPTH][BREADTH / 8];
        UNROLL for (step = 0; step < depth; step++) {
            uint at = start + (step * 4 + part) * LANES;
            UNROLL for (lower = 0; lower < 2; lower++) {
                uint row = top + 8 * lower;
                values[step][lower] = factors_inside(from + (wide)row * inputs, at, inputs, row < rows);
            }
            UNROLL for (column = 0; column < BREADTH / 8; column++) {
                /* This order gives each thread its columns in sequence. */
                uint of = left + LANE / 8 * 8 + column * 2 + LANE / 4 % 2;
                factors[step][column] = factors_inside(weights + (wide)of * inputs, at, inputs, of < outputs);
            }
        }
        UNROLL for (step = 0; step < depth; step++)
            if (start + step * 4 * LANES < inputs)
                UNROLL for (column = 0; column < BREADTH / 8; column++)
                    multiply(sums[column], values[step][0], values[step][1], factors[step][column]);
    }
    UNROLL for (lower = 0; lower < 2; lower++) UNROLL for (piece = 0; piece < 8 / (int)LANES; piece++) {
        uint row = top + 8 * lower, first = channel + piece * LANES;
        wide place = (wide)row * outputs + first;
        if (row < rows && channel < outputs) {
            struct Vector shifts = read((const struct Vector *)(bias + first)), answers, others;
            if (added) others = read((const struct Vector *)(added + place));
            UNROLL for (lane = 0; lane < (int)LANES; lane++) {
                float sum = sums[(piece * (int)LANES + lane) / 2][2 * lower + lane % 2];
                float value = silu(sum + get(shifts.lane[lane]));
                answers.lane[lane] = put(added ? value + get(others.lane[lane]) : value);
            }
            write((struct Vector *)(to + place), answers);
        }
    }
}

#else

INLINE void pointwise(uint index, const number *from, const number *weights, const number *bias, const number *added,
                      number *to, uint rows, uint inputs, uint outputs, const int depth) {
    uint across = (outputs + BREADTH - 1) / BREADTH, left = index % across * BREADTH, top = index / across * 16;
    uint row, channel, at;
    (void)depth;
    for (row = top; row < top + 16 && row < rows; row++)
        for (channel = left; channel < left + BREADTH && channel < outputs; channel++) {
            wide place = (wide)row * outputs + channel;
            float sum = bias[channel];
            for (at = 0; at < inputs; at++) sum += from[(wide)row * inputs + at] * weights[(wide)channel * inputs + at];
            to[place] = silu(sum) + (added ? added[place] : 0.0f);
        }
}

#endif

/* SiLU of `[rows,inputs]` times `[outputs,inputs]`, transposed, plus a bias; then `added` is added, if there is any. In float32 the
 * factors are rounded to 10 bits (TF32). `count` warps. */
#define POINTWISE(name, depth)                                                                                               \
    KERNEL void name(const number *from, const number *weights, const number *bias, const number *added, number *to,         \
                     uint count, uint rows, uint inputs, uint outputs) {                                                     \
        EACH_WARP(index, count)                                                                                              \
        pointwise(index, from, weights, bias, added, to, rows, inputs, outputs, depth);                                      \
    }

POINTWISE(pointwise_1, 1)
POINTWISE(pointwise_2, 2)
POINTWISE(pointwise_4, 4)

/* The largest values within `reach` pixels of each of `count` vectors, in pictures `[N,height,width,channels]`. */
KERNEL void largest(const struct Vector *from, struct Vector *to, uint count, uint channels, int width, int height,
                    int reach) {
    EACH_THREAD(index, count) {
        int vectors = (int)(channels / LANES), pixel = (int)index / vectors;
        int x = pixel % width, y = pixel / width % height, row, column;
        int left = x < reach ? -x : -reach, right = x + reach < width ? reach : width - 1 - x;
        int top = y < reach ? -y : -reach, bottom = y + reach < height ? reach : height - 1 - y;
        struct Vector best = read(from + index);
        uint lane;
        for (row = top; row <= bottom; row++)
            for (column = left; column <= right; column++) {
                struct Vector values = read(from + (long long)index + (row * width + column) * vectors);
                for (lane = 0; lane < LANES; lane++)
                    if (get(values.lane[lane]) > get(best.lane[lane])) best.lane[lane] = values.lane[lane];
            }
        write(to + index, best);
    }
}

/* The sums over a block's threads, in all of them. */
INLINE void add_in_block(float *sums) {
    uint lane;
    int distance;
    for (lane = 0; lane < LANES; lane++)
        for (distance = WARP / 2; distance > 0; distance /= 2) sums[lane] += across(sums[lane], distance);
#ifdef __CUDACC__
    __shared__ float of_warp[8][LANES];
    uint warp;
    if (LANE == 0)
        for (lane = 0; lane < LANES; lane++) of_warp[PART / WARP][lane] = sums[lane];
    __syncthreads();
    for (lane = 0; lane < LANES; lane++) {
        sums[lane] = 0.0f;
        for (warp = 0; warp < PARTS / WARP; warp++) sums[lane] += of_warp[warp][lane];
    }
#endif
}

/* The mean over the `rows` of a picture, `[N,rows,channels]`, for `count` vectors of channels. */
KERNEL void mean(const struct Vector *from, struct Vector *to, uint count, uint channels, uint rows) {
    EACH_BLOCK(index, count) {
        uint vectors = channels / LANES, row, lane;
        const struct Vector *picture = from + (wide)(index / vectors) * rows * vectors + index % vectors;
        float sums[LANES];
        struct Vector means;
        for (lane = 0; lane < LANES; lane++) sums[lane] = 0.0f;
        for (row = PART; row < rows; row += PARTS) {
            struct Vector values = read(picture + (wide)row * vectors);
            for (lane = 0; lane < LANES; lane++) sums[lane] += get(values.lane[lane]);
        }
        add_in_block(sums);
        for (lane = 0; lane < LANES; lane++) means.lane[lane] = put(sums[lane] / (float)rows);
        if (PART == 0) write(to + index, means);
    }
}

/* x / max(|x| * factor, floor) * gain[0] for each of `count` rows of `columns`; |x| is a row's Euclidean norm. */
KERNEL void scale_norm(const number *from, const number *gain, number *to, uint count, uint columns, float factor,
                       float least) {
    EACH_WARP(index, count) {
        const number *row = from + (wide)index * columns;
        float sum = 0.0f, norm, scale;
        uint column;
        int distance;
        for (column = LANE; column < columns; column += WARP) sum += get(row[column]) * get(row[column]);
        for (distance = WARP / 2; distance > 0; distance /= 2) sum += across(sum, distance);
        norm = sqrtf(sum) * factor;
        scale = get(gain[0]) / (norm > least ? norm : least);
        for (column = LANE; column < columns; column += WARP)
            to[(wide)index * columns + column] = put(get(row[column]) * scale);
    }
}

struct Peak {
    float maximum;
    uint bin;
};

INLINE int is_better(struct Peak one, struct Peak other) {
    return one.maximum > other.maximum || (one.maximum == other.maximum && one.bin < other.bin);
}

/* A warp's answer. */
INLINE struct Peak peak_of(const float *bins, uint count) {
    uint first = LANE < count ? LANE : 0, bin;
    struct Peak best = {bins[first], first}, other;
    int distance;
    for (bin = LANE; bin < count; bin += WARP)
        if (bins[bin] > best.maximum) {
            best.maximum = bins[bin];
            best.bin = bin;
        }
    for (distance = WARP / 2; distance > 0; distance /= 2) {
        other.maximum = across(best.maximum, distance);
        other.bin = (uint)across((float)best.bin, distance);
        if (is_better(other, best)) best = other;
    }
    return best;
}

/* The places of the maxima of two SimCC answers, in pixels of the crop, and the maxima, both in float32: the first wins among equal
 * ones. A row that contains NaN has any place, and NaN or a number of the row as its maximum. */
KERNEL void peaks(const float *x, const float *y, float *points, uint count, uint width, uint height) {
    EACH_WARP(index, count) {
        struct Peak right = peak_of(x + (wide)index * width, width), down = peak_of(y + (wide)index * height, height);
        if (LANE == 0) {
            float *point = points + 4 * (wide)index;
            /* Two bins for each pixel. */
            point[0] = 0.5f * (float)right.bin;
            point[1] = 0.5f * (float)down.bin;
            point[2] = right.maximum;
            point[3] = down.maximum;
        }
    }
}
