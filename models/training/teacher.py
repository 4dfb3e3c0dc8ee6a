"""Self-training: a teacher's answers are targets beside the labels (train.py --teacher).

The teacher sees the crop that the student sees, and its mirror image.  The mean of both answers is the target, each axis as a
distribution over its bins and not as a point: where the two disagree, or the teacher is not sure, it is low and wide, and so
the student learns this as well."""
import torch
import torch.nn.functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

import rtmpose as R
from augment import FLIP

SURE = .5                # the least score (not calibrated) with which a joint without a label is taught, as in train.relabel


def load(path, dev):
    """A network that only answers: its batch norms are part of its convolutions, its backbone in bfloat16 on a GPU."""
    net = R.network(path, dev).requires_grad_(False)
    for m in net.modules():
        if isinstance(m, R.ConvBNAct):
            m.conv, m.bn = fuse_conv_bn_eval(m.conv, m.bn), torch.nn.Identity()
    net.backbone.to(torch.bfloat16 if dev == "cuda" else torch.float32)
    return net.to(memory_format=torch.channels_last)


class Teacher:
    """One or more networks.  It makes no tensor from numbers of Python and branches on no value, so that a CUDA graph can hold it."""

    def __init__(self, paths, dev):
        self.nets, self.swap = [load(p, dev) for p in paths], torch.tensor(FLIP, device=dev)

    @torch.no_grad()
    def __call__(self, x):
        """Normalised crops -> mean answers, simcc_x and simcc_y."""
        x = x.to(self.nets[0].backbone.stem[0].conv.weight.dtype)
        both = torch.cat((x, x.flip(-1)))
        answers = [net.head(net.backbone(both).float()) for net in self.nets]
        (x1, x2), (y1, y2) = (torch.stack(axis).mean(0).chunk(2) for axis in zip(*answers))
        # column u of the crop is column W - 1 - u of its mirror image, so bin b = 2u is bin 2W - 2 - b there; the last has no partner
        x2 = torch.cat((x2[:, self.swap, :-1].flip(-1), x1[..., -1:]), -1)
        return (x1 + x2) / 2, (y1 + y2[:, self.swap]) / 2

    def loss(self, pred, answer, weight, absent, beta=10.0):
        """In the unit of train.pose_loss: KL to the answer's distribution, where there is a label or the teacher is sure, except for
        joints known to lie outside."""
        sure = torch.minimum(*(t.amax(-1) for t in answer)) > SURE
        taught = ((weight > 0) | sure) & (absent == 0)
        kl = sum(F.kl_div(F.log_softmax(p * beta, -1), F.softmax(t * beta, -1), reduction="none").mean(-1) for p, t in zip(pred, answer))
        return (kl * taught).sum() * 100 / taught.numel()
