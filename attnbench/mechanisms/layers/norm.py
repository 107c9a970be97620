"""Batch normalisation of pooled maps, which needs more than one image in training."""

from torch import Tensor, nn

from attnbench.errors import UserError


class PooledBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` for maps of one position: one image a batch in training is a `UserError`."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == self.num_features:
            raise UserError(
                "batch normalisation of a pooled map has one value a channel to train on: "
                "train with at least 2 images a batch and device (recipe.batch_size), or evaluate"
            )
        return super().forward(input)
