// What a call of the program works on; the layout is mirrored in executor.py.
#pragma once
#include <cstdint>

namespace {

struct Task {
    int64_t members, batch, slots, ops, width, classes;  // width: of a row of values
    const int32_t *widths;                               // of the slots
    const float *x;                                      // [members, batch, widths[0]]
    const float *soft;                                   // targets [members, batch, classes], or
    const int64_t *hard;                                 // [members, batch]
    const float *shares;                                 // of samples in the loss [members, batch], or null
    const float *values;
    float *grads;
    // running mean and variance of each normalization [members, width], null where there are none
    float **buffers;
    const float **tables;               // constant buffers [members, ...]: the edges of bins
    const uint64_t *keys;               // of each dropout place [members]
    const float *rates, *scales;
    float *objective;                   // [members]
    float *outputs;                     // for no training: [members, batch, classes]
    int64_t training, learn, squares;   // learn: running statistics; squares: squared error
};

}  // namespace
