// No include guard: from here to target_end.h functions may use AVX-512 F, BW, VL, DQ, VNNI, BF16 and VBMI. Headers with
// functions of their own come before, so that no other file gets a copy that needs these instructions.
#if defined(__clang__)
#pragma clang attribute push(                                                                               \
    __attribute__((target("avx2,fma,f16c,gfni,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,gfni,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")
#endif
