"""A training step as a CUDA graph: its kernels are launched once for all, and replayed."""
import torch


class Graph:
    """Captures `step()`, which takes its inputs from tensors that stay where they are, trains with `opt` (capturable) and gives its
    loss.  The steps before the capture train, too: the caller puts the weights back and calls `forget`."""

    def __init__(self, step, opt, warm=4):
        self.opt, side = opt, torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warm):
                opt.zero_grad(set_to_none=True)
                step()
        torch.cuda.current_stream().wait_stream(side)
        opt.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = step()
        self.replay = self.graph.replay

    def forget(self):
        """The optimiser's averages and count of steps start again."""
        for state in self.opt.state.values():
            for v in state.values():
                v.zero_()
