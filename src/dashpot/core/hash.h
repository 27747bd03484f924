// Uniform numbers by hashing (key, index). The bits are those of `_hashed` in draws.py; a test says so.
#pragma once
#include <cstdint>

namespace dashpot {

// A bijection of 32 bits in which every bit of the input reaches every bit of the output.
inline uint32_t scramble(uint32_t h) {
    h ^= h >> 16;
    h *= 0x21f0aaadu;
    h ^= h >> 15;
    h *= 0xd35a2d97u;
    return h ^ (h >> 15);
}

inline uint32_t hashed(uint32_t i, uint32_t low, uint32_t high) {
    return scramble(scramble(i * 0x9E3779B1u + low) ^ high);
}

inline float uniform(uint32_t i, uint32_t low, uint32_t high) {
    return (float)(int32_t)(hashed(i, low, high) >> 8) * 5.9604644775390625e-8f;
}

}  // namespace dashpot
