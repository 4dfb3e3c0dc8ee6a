/* A few brightnesses of a frame in the GPU's memory: the mean of `samples` x `samples` of them for each cell of a grid, as
 * `Picture::brightness` takes them on the processor. C as well as CUDA C++, for the tests. */

typedef unsigned char byte;
typedef long long wide;

#ifdef __CUDACC__
#define INLINE static __device__ __forceinline__
#else
#define INLINE static inline
#endif

/* The component that stands for brightness, and the grid. The same in `task.rs`. */
struct Grid {
    /* Address of the first sample's upper byte. */
    unsigned long long data;
    /* In bytes. */
    int row_stride, pixel_stride;
    /* In samples. */
    int width, height;
    /* Cells across and down, and samples of a cell across and down. */
    int columns, rows, samples;
};

/* The sample that stands for part `index` of `of` of a side. */
INLINE int sample_of(int index, int of, int side) { return (int)((2 * (wide)index + 1) * side / (2 * (wide)of)); }

INLINE byte cell(const struct Grid *grid, int column, int row) {
    int sum = 0, x, y;
    for (y = 0; y < grid->samples; y++)
        for (x = 0; x < grid->samples; x++) {
            wide down = sample_of(row * grid->samples + y, grid->rows * grid->samples, grid->height);
            wide across = sample_of(column * grid->samples + x, grid->columns * grid->samples, grid->width);
            sum += ((const byte *)grid->data)[down * grid->row_stride + across * grid->pixel_stride];
        }
    return (byte)(sum / (grid->samples * grid->samples));
}

#ifdef __CUDACC__
extern "C" __global__ void glimpse(struct Grid grid, byte *cells) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < grid.columns * grid.rows) cells[index] = cell(&grid, index % grid.columns, index / grid.columns);
}
#else
void glimpse(const struct Grid *grid, byte *cells) {
    int index;
    for (index = 0; index < grid->columns * grid->rows; index++)
        cells[index] = cell(grid, index % grid->columns, index / grid->columns);
}
#endif
