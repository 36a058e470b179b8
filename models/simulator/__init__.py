"""An analytical simulator of distributed training: memory per rank, communication, step time, and the best mesh.

hardware     GPUs and networks with physical parameters
shape        the network's parameters and arithmetic
memory       bytes per rank: weights, gradients, optimizer states, activations
compute      roofline times of one micro-batch on one GPU
collectives  bytes on the wire and seconds of ring and tree algorithms (NCCL's own cost model)
timeline     streams that work side by side, so that overlap is counted, not assumed
step         one optimizer step: micro-batches, gradient buckets, parameter gathers, stragglers
search       all meshes for so many GPUs, and the one to take
"""
