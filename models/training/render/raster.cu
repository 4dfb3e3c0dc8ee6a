// Draws people: `cover` finds the nearest triangle of each pixel, `shade` colours it.  One source for two compilers: nvcc makes
// the kernels, g++ the same functions in a loop, which is the reference that the kernels are checked against (check.py).
// The P_ and C_ numbers come from layout.py.
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define HD __device__ __forceinline__
#else
#define HD static inline
#endif

// ---- coverage ------------------------------------------------------------------------------------------------------
// Corners are rounded to 1/16 pixel and the edges are integers, so that both compilers decide every pixel alike.

struct Triangle { int64_t x[3], y[3], area; float near_[3]; };

HD int64_t edge(const Triangle &t, int i, int j, int64_t x, int64_t y) {
    return (t.x[j] - t.x[i]) * (y - t.y[i]) - (t.y[j] - t.y[i]) * (x - t.x[i]);
}

// On an edge shared by two triangles, the pixel belongs to the one whose left or upper edge it is.
HD int64_t inside_from(const Triangle &t, int i, int j) {
    int64_t dx = t.x[j] - t.x[i], dy = t.y[j] - t.y[i];
    return dy < 0 || (dy == 0 && dx > 0) ? 0 : 1;
}

HD bool load(Triangle &t, const float *screen, const int *face) {
    for (int i = 0; i < 3; i++) {
        const float *p = screen + 3 * (int64_t)face[i];
        if (!(p[2] > 0) || !(fabsf(p[0]) < 16384) || !(fabsf(p[1]) < 16384)) return false;     // behind the camera, or not in use
        t.x[i] = (int64_t)rintf(p[0] * 16), t.y[i] = (int64_t)rintf(p[1] * 16), t.near_[i] = p[2];
    }
    t.area = edge(t, 0, 1, t.x[2], t.y[2]);
    return t.area != 0;
}

HD void turn_over(Triangle &t) {
    int64_t x = t.x[1], y = t.y[1]; float n = t.near_[1];
    t.x[1] = t.x[2], t.y[1] = t.y[2], t.near_[1] = t.near_[2], t.x[2] = x, t.y[2] = y, t.near_[2] = n, t.area = -t.area;
}

HD int64_t least(int64_t a, int64_t b, int64_t c) { int64_t m = a < b ? a : b; return m < c ? m : c; }
HD int64_t most(int64_t a, int64_t b, int64_t c) { int64_t m = a > b ? a : b; return m > c ? m : c; }

// One triangle of one person.  seen[crop][row][column] = nearness (float bits) << 32 | ~(place of the person in the crop * F + triangle).
HD void cover_one(int64_t job, const float *screen, const int *face, const int *crop, const int *place, int V, int F, int W, int H, uint64_t *seen) {
    int n = (int)(job / F), f = (int)(job % F);
    Triangle t;
    if (!load(t, screen + 3 * (int64_t)n * V, face + 3 * f)) return;
    if (t.area < 0) turn_over(t);
    int64_t x0 = (least(t.x[0], t.x[1], t.x[2]) + 7) >> 4, x1 = (most(t.x[0], t.x[1], t.x[2]) - 8) >> 4;
    int64_t y0 = (least(t.y[0], t.y[1], t.y[2]) + 7) >> 4, y1 = (most(t.y[0], t.y[1], t.y[2]) - 8) >> 4;
    x0 = x0 < 0 ? 0 : x0, y0 = y0 < 0 ? 0 : y0, x1 = x1 >= W ? W - 1 : x1, y1 = y1 >= H ? H - 1 : y1;
    int64_t in0 = inside_from(t, 1, 2), in1 = inside_from(t, 2, 0), in2 = inside_from(t, 0, 1);
    uint32_t id = 0xffffffffu - ((uint32_t)place[n] * (uint32_t)F + (uint32_t)f);
    for (int64_t y = y0; y <= y1; y++)
        for (int64_t x = x0; x <= x1; x++) {
            int64_t px = 16 * x + 8, py = 16 * y + 8;
            int64_t a = edge(t, 1, 2, px, py), b = edge(t, 2, 0, px, py), c = edge(t, 0, 1, px, py);
            if (a < in0 || b < in1 || c < in2) continue;
            float near_ = (float)a / (float)t.area * t.near_[0] + (float)b / (float)t.area * t.near_[1] + (float)c / (float)t.area * t.near_[2];
            uint32_t bits;
            memcpy(&bits, &near_, 4);
            uint64_t key = (uint64_t)bits << 32 | id, *at = seen + ((int64_t)crop[n] * H + y) * W + x;
#ifdef __CUDACC__
            atomicMax((unsigned long long *)at, (unsigned long long)key);
#else
            if (*at < key) *at = key;
#endif
        }
}

// ---- colour --------------------------------------------------------------------------------------------------------
struct V3 { float x, y, z; };
HD V3 v3(float x, float y, float z) { V3 v = {x, y, z}; return v; }
HD V3 v3(const float *p) { return v3(p[0], p[1], p[2]); }
HD V3 operator+(V3 a, V3 b) { return v3(a.x + b.x, a.y + b.y, a.z + b.z); }
HD V3 operator*(V3 a, float k) { return v3(a.x * k, a.y * k, a.z * k); }
HD V3 operator*(V3 a, V3 b) { return v3(a.x * b.x, a.y * b.y, a.z * b.z); }
HD float dot(V3 a, V3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
HD V3 unit(V3 a) { return a * (1 / sqrtf(dot(a, a) + 1e-20f)); }
HD float clamp01(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
HD V3 mix(V3 a, V3 b, float t) { return a * (1 - t) + b * t; }
HD float soft(float x, float low, float high) { float t = clamp01((x - low) / (high - low)); return t * t * (3 - 2 * t); }

HD float hashed(int x, int y, int z, uint32_t seed) {
    uint32_t h = (uint32_t)x * 73856093u ^ (uint32_t)y * 19349663u ^ (uint32_t)z * 83492791u ^ seed * 2654435761u;
    h = (h ^ (h >> 16)) * 0x7feb352du, h = (h ^ (h >> 15)) * 0x846ca68bu;
    return (float)((h ^ (h >> 16)) >> 8) * (1.f / 16777216.f);
}

HD float noise(V3 p, uint32_t seed) {                                // value noise, 0..1
    float fx = floorf(p.x), fy = floorf(p.y), fz = floorf(p.z), s = 0;
    int x = (int)fx, y = (int)fy, z = (int)fz;
    float u = soft(p.x - fx, 0, 1), v = soft(p.y - fy, 0, 1), w = soft(p.z - fz, 0, 1);
    for (int i = 0; i < 8; i++)
        s += hashed(x + (i & 1), y + (i >> 1 & 1), z + (i >> 2), seed) * (i & 1 ? u : 1 - u) * (i & 2 ? v : 1 - v) * (i & 4 ? w : 1 - w);
    return s;
}

HD float wave(float x) { return .5f + .5f * sinf(6.2831853f * x); }

// How much of a garment's second colour there is: r in metres on the resting body, u along the limb.
HD float pattern(int kind, float scale, V3 r, float u, uint32_t seed) {
    switch (kind) {
    case 1: return soft(wave((r.z + .6f * u) * scale), .45f, .55f);
    case 2: return soft(wave(atan2f(r.x, r.y + .03f) * .16f * scale), .45f, .55f);
    case 3: return .5f * (soft(wave(r.z * scale), .4f, .6f) + soft(wave(r.x * scale), .4f, .6f));
    case 4: return soft(noise(r * scale, seed), .45f, .55f);
    case 5: return u < .02f && r.y > 0 && fabsf(r.x) < .13f && noise(v3(r.x * 60, 0, r.z * 45), seed) > .5f && noise(v3(0, 0, r.z * 6), seed + 1) > .35f ? 1.f : 0.f;
    case 6: return noise(r * (scale * 14), seed);
    }
    return 0;
}

struct Surface { V3 colour; float gloss, bump; };

// What covers the body here.  field: the columns of extract.py's FIELDS.
HD Surface dressed(const float *field, V3 r, const float *p) {
    float torso = field[0], arm = field[1], leg = field[2], hair = field[3], eye = field[4], iris = field[5], brow = field[6], lip = field[7], beard = field[8];
    uint32_t seed = (uint32_t)p[P_SEED];
    V3 skin = v3(p + P_SKIN), mane = v3(p + P_HAIR);
    Surface s = {skin * (.86f + .28f * noise(r * 28, seed)), .25f * p[P_GLOSS] + .08f, 0};
    s.colour = mix(s.colour, skin * v3(.95f, .5f, .48f), .75f * lip);
    s.colour = mix(s.colour, mane * .7f, clamp01(brow * p[P_BROW]));
    s.colour = mix(s.colour, mane, clamp01(beard * p[P_BEARD] * (.6f + .8f * noise(r * 300, seed))));
    if (eye > .5f) {
        s.colour = mix(v3(.72f, .7f, .68f), v3(p + P_IRIS), iris);
        s.gloss = .8f;
    }
    float edge_ = .35f * (noise(r * 55, seed + 7) - .5f);
    if (hair + edge_ > p[P_HAIRLINE]) {
        s.colour = mane * (.55f + .9f * noise(v3(r.x * 170, r.y * 170, r.z * 22), seed + 2));
        s.gloss = .35f;
    }
    float end = .02f * (noise(r * 18, seed + 3) - .5f);               // no hem is quite straight
    bool hand = arm > 1.02f;
    if (leg + end <= p[P_LEG_END] && torso + end <= p[P_WAIST] && arm < .02f && leg < 1.2f) {
        s.colour = mix(v3(p + P_BOTTOM), v3(p + P_BOTTOM2), pattern((int)p[P_BOTTOM_PATTERN], p[P_BOTTOM_SCALE], r, leg, seed + 4));
        s.gloss = .06f, s.bump = .7f * p[P_BUMP];
        if (torso > p[P_WAIST] - .06f && p[P_ZIP] > .3f) s.colour = v3(p + P_SHOE) * .8f;       // a belt
    }
    if (leg > p[P_SOCK_FROM]) s.colour = v3(p + P_SOCK), s.bump = .2f;
    if (leg > p[P_SHOE_FROM]) {
        s.colour = r.z < .018f ? mix(v3(p + P_SHOE), v3(.8f, .8f, .8f), p[P_ZIP]) : v3(p + P_SHOE), s.gloss = .3f, s.bump = 0;
    }
    float neck = p[P_NECK] - (r.y > 0 ? .8f * r.y : 0);               // lower in front
    if (torso + end >= p[P_HEM] && torso <= neck && arm + end <= p[P_SLEEVE] && leg < .95f && !hand) {
        s.colour = mix(v3(p + P_TOP), v3(p + P_TOP2), pattern((int)p[P_TOP_PATTERN], p[P_TOP_SCALE], r, arm, seed + 5));
        s.gloss = .06f, s.bump = p[P_BUMP];
        if (p[P_ZIP] > .6f && fabsf(r.x) < .012f && r.y > 0) s.colour = v3(p + P_TOP2) * .6f;
    }
    if (arm > p[P_GLOVE_FROM]) s.colour = v3(p + P_SOCK), s.gloss = .1f, s.bump = .2f;
    if (s.bump > 0) s.colour = s.colour * (.9f + .2f * noise(r * 420, seed + 6));
    return s;
}

struct View { const uint64_t *seen; int W, H; };

HD float nearness(const View &v, int64_t base, int x, int y) {
    x = x < 0 ? 0 : x >= v.W ? v.W - 1 : x, y = y < 0 ? 0 : y >= v.H ? v.H - 1 : y;
    uint32_t bits = (uint32_t)(v.seen[base + (int64_t)y * v.W + x] >> 32);
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

// The part of the sun that reaches a point, by the shadow map.
HD float sunlit(const View &sun, int64_t base, const float *light, V3 at) {
    float x = light[0] * at.x + light[1] * at.y + light[2] * at.z + light[3], y = light[4] * at.x + light[5] * at.y + light[6] * at.z + light[7];
    float n = light[8] * at.x + light[9] * at.y + light[10] * at.z + light[11], lit = 0;
    if (x < 1 || y < 1 || x > sun.W - 2 || y > sun.H - 2) return 1;
    for (int i = 0; i < 4; i++) lit += nearness(sun, base, (int)(x - .5f + (i & 1)), (int)(y - .5f + (i >> 1))) > n + .012f ? 0.f : .25f;
    return lit;
}

HD V3 sky(const float *sh, V3 n) {
    float b[9] = {1, n.y, n.z, n.x, n.x * n.y, n.y * n.z, 3 * n.z * n.z - 1, n.x * n.z, n.x * n.x - n.y * n.y};
    V3 c = v3(0, 0, 0);
    for (int i = 0; i < 9; i++) c = c + v3(sh + 3 * i) * b[i];
    return v3(c.x < .02f ? .02f : c.x, c.y < .02f ? .02f : c.y, c.z < .02f ? .02f : c.z);
}

HD float coded(float x) { return 255 * powf(clamp01(x), 1 / 2.2f); }

// One pixel of one crop: rgb 0..255, the person's place in the crop or -1, and the sun's part on the floor behind.
HD void shade_one(int64_t job, const View &view, const View &sun, const float *screen, const float *normal, const int *face,
                  const float *field, int FIELDS_, const float *rest, const int8_t *part, const int *first, const float *person, const float *crop,
                  int V, int F, float *rgb, int8_t *who, float *lit) {
    int64_t plane = (int64_t)view.W * view.H, b = job / plane, at = job % plane;
    int x = (int)(at % view.W), y = (int)(at / view.W);
    const float *c = crop + b * CROP_SIZE;
    V3 ray = v3((x + .5f - c[C_CAMERA + 1]) / c[C_CAMERA], (y + .5f - c[C_CAMERA + 2]) / c[C_CAMERA], 1);
    uint64_t key = view.seen[job];
    int64_t sunbase = b * sun.W * sun.H;
    if (!key) {
        float down = dot(v3(c + C_FLOOR), ray), t = down != 0 ? c[C_FLOOR + 3] / down : -1;
        who[job] = -1, lit[job] = t > 0 ? 1 - c[C_SHADOW] * (1 - sunlit(sun, sunbase, c + C_LIGHT, ray * t)) : 1;
        for (int i = 0; i < 3; i++) rgb[(3 * b + i) * plane + at] = 0;
        return;
    }
    uint32_t id = 0xffffffffu - (uint32_t)key;
    int place = (int)(id / (uint32_t)F), n = first[b] + place;
    const int *corner = face + 3 * (id % (uint32_t)F);
    Triangle t;
    load(t, screen + 3 * (int64_t)n * V, corner);
    int64_t px = 16 * (int64_t)x + 8, py = 16 * (int64_t)y + 8;
    float l[3] = {(float)edge(t, 1, 2, px, py) * t.near_[0], (float)edge(t, 2, 0, px, py) * t.near_[1], (float)edge(t, 0, 1, px, py) * t.near_[2]};
    float sum = l[0] + l[1] + l[2];
    float f[9], near_ = nearness(view, b * plane, x, y);
    for (int k = 0; k < 9; k++) f[k] = 0;
    V3 nrm = v3(0, 0, 0), r = v3(0, 0, 0);
    for (int i = 0; i < 3; i++) {
        float k = l[i] / sum;
        nrm = nrm + v3(normal + 3 * ((int64_t)n * V + corner[i])) * k;
        r = r + v3(rest + 3 * corner[i]) * k;
        for (int j = 0; j < 9; j++) f[j] += field[FIELDS_ * corner[i] + j] * k;
    }
    const float *p = person + (int64_t)n * PERSON_SIZE;
    uint32_t seed = (uint32_t)p[P_SEED];
    Surface s;
    int piece = part[corner[0]];
    if (piece == 0) s = dressed(f, r, p);
    else {
        V3 base = v3(p + (piece > PARTS ? P_SKIRT : P_PART + 3 * (piece - 1)));
        Surface o = {base * (piece == 1 ? .55f + .9f * noise(v3(r.x * 60, r.y * 60, r.z * 6), seed) : .85f + .3f * noise(r * 9, seed)), piece > PARTS ? .05f : .25f, piece > PARTS ? p[P_BUMP] : 0};
        if (piece > PARTS) o.colour = mix(o.colour, v3(p + P_BOTTOM2), pattern((int)p[P_BOTTOM_PATTERN], p[P_BOTTOM_SCALE], r, 0, seed + 4));
        s = o;
    }
    if (s.bump > 0)                                                   // folds
        nrm = nrm + v3(noise(r * 16, seed + 11) - .5f + .5f * (noise(r * 45, seed + 14) - .5f), noise(r * 16, seed + 12) - .5f + .5f * (noise(r * 45, seed + 15) - .5f), noise(v3(r.x * 16, r.y * 16, r.z * 30), seed + 13) - .5f) * s.bump;
    nrm = unit(nrm);
    if (dot(nrm, ray) > 0) nrm = nrm * -1;                            // a thin thing seen from behind
    V3 at3 = ray * (1 / near_);
    float shut = 0, reach = .1f * c[C_CAMERA] * near_;
    for (int i = 0; i < 12; i++) {                                    // what lies close in front takes light away
        float a = 2.399963f * i, d = reach * sqrtf((i + .5f) / 12.f);
        float m = nearness(view, b * plane, (int)(x + d * cosf(a)), (int)(y + d * sinf(a)));
        float over = m > near_ ? 1 / near_ - 1 / m : 0;
        shut += over > .012f && over < .35f ? 1 - over / .35f : 0;
    }
    float open = 1 - c[C_AO] * shut / 12;
    V3 l3 = v3(c + C_SUN), eye = unit(ray) * -1;
    float facing = dot(nrm, l3), direct = facing > 0 ? facing * sunlit(sun, sunbase, c + C_LIGHT, at3 + nrm * .012f) : 0;
    float shine = dot(nrm, unit(l3 + eye));
    V3 light = sky(c + C_SH, nrm) * open + v3(c + C_SUN_COLOUR) * direct;
    V3 out = s.colour * light + v3(c + C_SUN_COLOUR) * (direct > 0 && shine > 0 ? s.gloss * .25f * powf(shine, 24) : 0.f);
    rgb[3 * b * plane + at] = coded(out.x), rgb[(3 * b + 1) * plane + at] = coded(out.y), rgb[(3 * b + 2) * plane + at] = coded(out.z);
    who[job] = (int8_t)place, lit[job] = 1;
}

// ---- the two entries, for either compiler ------------------------------------------------------------------------
#ifdef __CUDACC__
__global__ void cover_kernel(int64_t jobs, const float *screen, const int *face, const int *crop, const int *place, int V, int F, int W, int H, uint64_t *seen) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < jobs) cover_one(i, screen, face, crop, place, V, F, W, H, seen);
}
__global__ void shade_kernel(int64_t jobs, View view, View sun, const float *screen, const float *normal, const int *face, const float *field, int fields, const float *rest,
                             const int8_t *part, const int *first, const float *person, const float *crop, int V, int F, float *rgb, int8_t *who, float *lit) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < jobs) shade_one(i, view, sun, screen, normal, face, field, fields, rest, part, first, person, crop, V, F, rgb, who, lit);
}
#define BLOCKS(n) (unsigned)(((n) + 255) / 256), 256, 0, (cudaStream_t)stream
#endif

extern "C" int cover(int64_t N, const float *screen, const int *face, const int *crop, const int *place, int V, int F, int W, int H, uint64_t *seen, void *stream) {
    int64_t jobs = N * F;
#ifdef __CUDACC__
    if (jobs) cover_kernel<<<BLOCKS(jobs)>>>(jobs, screen, face, crop, place, V, F, W, H, seen);
    return (int)cudaGetLastError();
#else
    (void)stream;
    for (int64_t i = 0; i < jobs; i++) cover_one(i, screen, face, crop, place, V, F, W, H, seen);
    return 0;
#endif
}

extern "C" int shade(int64_t B, const uint64_t *seen, int W, int H, const uint64_t *sunseen, int SW, int SH, const float *screen, const float *normal, const int *face,
                     const float *field, int fields, const float *rest, const int8_t *part, const int *first, const float *person, const float *crop,
                     int V, int F, float *rgb, int8_t *who, float *lit, void *stream) {
    int64_t jobs = B * W * H;
    View view = {seen, W, H}, sun = {sunseen, SW, SH};
#ifdef __CUDACC__
    if (jobs) shade_kernel<<<BLOCKS(jobs)>>>(jobs, view, sun, screen, normal, face, field, fields, rest, part, first, person, crop, V, F, rgb, who, lit);
    return (int)cudaGetLastError();
#else
    (void)stream;
    for (int64_t i = 0; i < jobs; i++) shade_one(i, view, sun, screen, normal, face, field, fields, rest, part, first, person, crop, V, F, rgb, who, lit);
    return 0;
#endif
}
