"""Bodies from extract.py's file: their shape, their pose, and what they wear as far as it changes their outline.  PyTorch,
all people of a batch at once.  Axes: x to the person's right, y to where it looks, z up."""
import math

import numpy as np
import torch

import poses
from extract import contract
from layout import PARTS

BALL = (10, 16)                                                     # rings and segments of a thing
SKIRT = (14, 32)


def grid(rings, segments, offset):
    """Faces of a closed band of rings."""
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(segments), indexing="ij")
    a, b = i * segments + j, i * segments + (j + 1) % segments
    c, d = a + segments, b + segments
    return np.concatenate((np.stack((a, b, c), -1).reshape(-1, 3), np.stack((b, d, c), -1).reshape(-1, 3))) + offset


def ball():
    t = np.linspace(0, math.pi, BALL[0])[:, None]
    a = np.linspace(0, 2 * math.pi, BALL[1], endpoint=False)[None]
    return np.stack((np.sin(t) * np.cos(a), np.sin(t) * np.sin(a), np.cos(t) + 0 * a), -1).reshape(-1, 3)


def axis_rotation(axis, angle):
    """Rotation matrices [n,3,3] about x (0), y (1) or z (2)."""
    c, s, o, z = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    rows = {0: (o, z, z, z, c, -s, z, s, c), 1: (c, z, s, z, o, z, -s, z, c), 2: (c, -s, z, s, c, z, z, z, o)}[axis]
    return torch.stack(rows, -1).reshape(*angle.shape, 3, 3)


def least_rotation(a, b):
    """The smallest rotation [n,3,3] that takes direction a [n,3] to b [n,3] (not to its opposite)."""
    a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    v, c = torch.linalg.cross(a, b), (a * b).sum(-1)
    z = torch.zeros_like(c)
    k = torch.stack((z, -v[..., 2], v[..., 1], v[..., 2], z, -v[..., 0], -v[..., 1], v[..., 0], z), -1).reshape(*c.shape, 3, 3)
    return torch.eye(3, device=a.device) + k + k @ k / (1 + c).clamp(min=1e-6)[..., None, None]


class Bodies:
    def __init__(self, path, device):
        z = dict(np.load(path))
        contract(z)
        to = lambda name: torch.from_numpy(z[name].astype(np.float32)).to(device)
        self.device, self.bones, self.parent = device, [str(b) for b in z["bone"]], z["parent"].tolist()
        self.mean, self.basis, self.coefficient = to("mean"), to("basis"), to("coefficient")
        self.female, self.age = z["female"], z["age"]
        self.V, self.J = len(z["normal"]), len(self.bones)
        self.weight = to("weight") / to("weight").sum(1, keepdim=True)
        point = to("point")
        self.point = point / point.sum(1, keepdim=True)
        self.normal, self.field = to("normal"), to("field")
        self.at = {b: i for i, b in enumerate(self.bones)}
        ballv = torch.from_numpy(ball()).float().to(device)
        self.ball, n = ballv, len(ballv)
        parts = [torch.zeros(self.V)] + [torch.full((n,), i + 1.) for i in range(PARTS)] + [torch.full((SKIRT[0] * SKIRT[1],), PARTS + 1.)]
        faces = [z["face"]] + [grid(*BALL, self.V + i * n) for i in range(PARTS)] + [grid(*SKIRT, self.V + PARTS * n)]
        extra = sum(len(p) for p in parts) - self.V
        skirt = torch.zeros(SKIRT[0], SKIRT[1], 3, device=device)
        a = torch.arange(SKIRT[1], device=device) * (2 * math.pi / SKIRT[1])
        skirt[..., 0], skirt[..., 1], skirt[..., 2] = .2 * a.cos(), .2 * a.sin(), torch.linspace(1, .3, SKIRT[0], device=device)[:, None]
        self.mesh = dict(face=torch.from_numpy(np.concatenate(faces)).to(device), part=torch.cat(parts).to(device),
                         field=torch.cat((self.field, torch.zeros(extra, self.field.shape[1], device=device))),
                         rest=torch.cat((self.mean[:self.V], (.15 * ballv).repeat(PARTS, 1), skirt.reshape(-1, 3))))

    def shapes(self, which):
        """Rest vertices [n,V,3] and joints [n,J,3] of bodies by number."""
        x = self.mean + torch.einsum("nk,kvd->nvd", self.coefficient[which], self.basis)
        return x[:, :self.V], x[:, self.V:]

    def skeleton(self, joints, pose):
        """Rotation [n,J,3,3] from rest and place [n,J,3] of each bone.  pose: degrees, the columns of poses.DOF."""
        n = len(joints)
        d = lambda name: pose[:, poses.AT[name]] * (math.pi / 180)
        rot = axis_rotation
        eye = torch.eye(3, device=joints.device).expand(n, 3, 3)
        turn = {"root": rot(1, d("root_roll")) @ rot(0, -d("root_pitch"))}
        spine = ["spine04", "spine03", "spine02", "spine01"]
        for b in spine:
            turn[b] = rot(2, d("spine_twist") / 4) @ rot(1, d("spine_side") / 4) @ rot(0, -d("spine_bend") / 4)
        for b in ("neck01", "neck03", "head"):
            turn[b] = rot(2, d("neck_twist") / 3) @ rot(1, d("neck_side") / 3) @ rot(0, -d("neck_bend") / 3)
        straight = {}                                               # rotation from rest to the zero pose, of a limb's bones
        down = torch.tensor([0., 0., -1.], device=joints.device)
        for s, S, o in (("l_", ".L", 1.), ("r_", ".R", -1.)):       # o: the sense of a turn about y or z that leads outward on the left
            way = lambda a, b: joints[:, self.at[b + S]] - joints[:, self.at[a + S]]
            arm, fore, hand = way("upperarm01", "lowerarm01"), way("lowerarm01", "wrist"), way("wrist", "finger3-1")
            thigh, shin = way("upperleg01", "lowerleg01"), way("lowerleg01", "foot")
            for b, v in (("upperarm01", arm), ("lowerarm01", fore), ("wrist", hand), ("upperleg01", thigh), ("lowerleg01", shin), ("foot", None)):
                straight[b + S] = least_rotation(v, down.expand_as(v)) if v is not None else eye
            lift, toward = d(s + "arm_lift"), d(s + "arm_toward")
            aim = torch.stack((-o * lift.sin() * toward.sin(), lift.sin() * toward.cos(), -lift.cos()), -1)
            turn["shoulder01" + S] = rot(1, o * d(s + "shrug"))
            turn["upperarm01" + S] = least_rotation(down.expand_as(aim), aim) @ rot(2, -o * d(s + "arm_twist"))
            turn["lowerarm01" + S] = rot(0, d(s + "elbow"))
            turn["lowerarm02" + S] = rot(2, -o * d(s + "forearm_twist") / 2)
            turn["wrist" + S] = rot(2, -o * d(s + "forearm_twist") / 2) @ rot(1, -o * d(s + "wrist"))
            turn["upperleg01" + S] = rot(0, d(s + "hip")) @ rot(1, o * d(s + "hip_out")) @ rot(2, -o * d(s + "hip_twist"))
            turn["lowerleg01" + S] = rot(0, -d(s + "knee"))
            turn["foot" + S] = rot(0, -d(s + "ankle"))
            for f in range(2, 6):
                for k in (1, 2, 3):
                    turn[f"finger{f}-{k}{S}"] = rot(1, -o * d(s + "fingers"))
        # accumulated turns, with each bone's way from rest to the zero pose before them
        A, N, G, P = [None] * self.J, [None] * self.J, [None] * self.J, [None] * self.J
        for j, b in enumerate(self.bones):
            p = self.parent[j]
            N[j] = straight.get(b, N[p] if p >= 0 else eye)
            A[j] = turn.get(b, eye) if p < 0 else (A[p] @ turn[b] if b in turn else A[p])
            G[j] = A[j] @ N[j]
            P[j] = joints[:, j] if p < 0 else P[p] + (G[p] @ (joints[:, j] - joints[:, p])[..., None])[..., 0]
        return torch.stack(G, 1), torch.stack(P, 1)

    def transforms(self, joints, G, P):
        """What takes each resting vertex to the pose: [n,V,3,4]."""
        n = len(joints)
        M = torch.cat((G, (P - (G @ joints[..., None])[..., 0])[..., None]), -1).reshape(n, self.J, 12)
        return torch.einsum("vj,njk->nvk", self.weight, M).reshape(n, self.V, 3, 4)

    def skin(self, rest, T):
        return (T[..., :3] * rest[..., None, :]).sum(-1) + T[..., 3]

    def thing(self, centre, frame, size, square):
        """A ball bent to a thing: centre [n,3], frame [n,3,3] (columns: its axes), size [n,3] (half), square [n]: 1 a ball, towards 0 a box.
        -> vertices and normals [n,m,3]; a size of 0 is no thing (kept in place; the caller marks it)."""
        e = square[:, None, None]
        b = self.ball[None]
        p = torch.sign(b) * b.abs().clamp(min=1e-6) ** e
        p = p / (p.abs() ** (2 / e)).sum(-1, keepdim=True).clamp(min=1e-9) ** (e / 2)
        m = torch.sign(b) * b.abs() ** (2 - e).clamp(max=2) / size[:, None].clamp(min=1e-4)
        m = m / m.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        return centre[:, None] + (p * size[:, None]) @ frame.transpose(1, 2), m @ frame.transpose(1, 2)

    def skirt(self, G, P, joints, length, flare, wide):
        """A tube round both legs from the waist: length [n] in parts of the leg (1: to the ankle), flare and wide [n] metres."""
        n, (R, S) = len(P), SKIRT
        at = lambda b: P[:, self.at[b]]
        t = torch.linspace(0, 1, R, device=P.device)[None, :, None] * length[:, None, None]
        legs = []
        for s in (".L", ".R"):
            hip, knee, foot = at("upperleg01" + s), at("lowerleg01" + s), at("foot" + s)
            a, b = knee - hip, foot - knee
            legs.append(torch.where(t < .5, hip[:, None] + 2 * t * a[:, None], knee[:, None] + (2 * t - 1) * b[:, None]))
        up = at("spine03") - at("root")
        lead = torch.cat((torch.ones(1, 1, 1, device=P.device), torch.zeros(1, R - 1, 1, device=P.device)), 1) * .9
        centre = (legs[0] + legs[1]) / 2 + lead * up[:, None]
        half = (legs[1] - legs[0]) / 2
        axis = centre[:, 1:] - centre[:, :-1]
        axis = torch.cat((axis[:, :1], axis), 1)
        right = half / half.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        front = torch.linalg.cross(axis, right)
        front = front / front.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        k = torch.linspace(0, 1, R, device=P.device)[None, :, None]
        out = wide[:, None, None] + flare[:, None, None] * k
        a = torch.arange(S, device=P.device) * (2 * math.pi / S)
        folds = 1 + .06 * k[..., None] * torch.sin(7 * a)[None, None, :, None]
        ring = right[:, :, None] * a.cos()[None, None, :, None] * (half.norm(dim=-1)[:, :, None, None] * .8 + out[..., None]) * folds \
            + front[:, :, None] * a.sin()[None, None, :, None] * (out[..., None] * 1.15) * folds
        v = centre[:, :, None] + ring
        return v.reshape(n, -1, 3), (ring / ring.norm(dim=-1, keepdim=True).clamp(min=1e-6)).reshape(n, -1, 3)
