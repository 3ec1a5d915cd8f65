"""The networks' formulas in plain operations, to compare with the memory-efficient ones."""

import torch
import torch.nn.functional as F


def lrelu(x):
    return F.leaky_relu(x, 0.2)


def dense_block(block, x):
    x1 = lrelu(block.conv1(x))
    x2 = lrelu(block.conv2(torch.cat((x, x1), 1)))
    x3 = lrelu(block.conv3(torch.cat((x, x1, x2), 1)))
    x4 = lrelu(block.conv4(torch.cat((x, x1, x2, x3), 1)))
    return block.conv5(torch.cat((x, x1, x2, x3, x4), 1)) * 0.2 + x


def rrdbnet(net, x):
    first = net.conv_first(x)
    features = first
    for rrdb in net.body:
        inner = features
        for block in (rrdb.rdb1, rrdb.rdb2, rrdb.rdb3):
            inner = dense_block(block, inner)
        features = inner * 0.2 + features
    features = first + net.conv_body(features)
    for conv in (net.conv_up1, net.conv_up2):
        features = lrelu(conv(F.interpolate(features, scale_factor=2, mode="nearest")))
    return net.conv_last(lrelu(net.conv_hr(features)))


def unet(net, x):
    def double(y):
        return F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)

    x0 = lrelu(net.conv0(x))
    x1 = lrelu(net.conv1(x0))
    x2 = lrelu(net.conv2(x1))
    x3 = lrelu(net.conv3(x2))
    x4 = lrelu(net.conv4(double(x3))) + x2
    x5 = lrelu(net.conv5(double(x4))) + x1
    x6 = lrelu(net.conv6(double(x5))) + x0
    return net.conv9(lrelu(net.conv8(lrelu(net.conv7(x6)))))


def vgg(net, x):
    x = (x - net.mean) / net.std
    found = {}
    for index, layer in enumerate(net.features):
        x = layer(x.clone())  # ReLU works in place
        if index in net.taps:
            found[net.taps[index]] = x
    return found
