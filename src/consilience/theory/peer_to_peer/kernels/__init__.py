"""Neural tangent kernels: of networks as they are, and of networks of infinite width."""
