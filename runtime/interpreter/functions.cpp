// Elementary functions of float that loops over entries vectorise, which calls of the standard library do not.
//
// They are computed in double and rounded once, so they are within 0.51 units in the last place of the exact value.
// Those of double are the standard library's. Series are cut where what is left is below 1e-10 of the result, which a
// float does not show, and later where a difference follows. GPUs have all of them in float.

template <typename A> DEVICE inline A exp_(const A x) { return std::exp(x); }
template <typename A> DEVICE inline A exp2_(const A x) { return std::exp2(x); }
template <typename A> DEVICE inline A expm1_(const A x) { return std::expm1(x); }
template <typename A> DEVICE inline A log_(const A x) { return std::log(x); }
template <typename A> DEVICE inline A log2_(const A x) { return std::log2(x); }
template <typename A> DEVICE inline A log10_(const A x) { return std::log10(x); }
template <typename A> DEVICE inline A log1p_(const A x) { return std::log1p(x); }
template <typename A> DEVICE inline A atan_(const A x) { return std::atan(x); }
template <typename A> DEVICE inline A tanh_(const A x) { return std::tanh(x); }
template <typename A> DEVICE inline A pow_(const A x, const A y) { return std::pow(x, y); }

#ifndef ON_DEVICE
#define EACH_ENTRY [[gnu::always_inline]] inline

EACH_ENTRY double from_bits(const uint64_t bits) {
    double x;
    std::memcpy(&x, &bits, 8);
    return x;
}
EACH_ENTRY uint64_t to_bits(const double x) {
    uint64_t bits;
    std::memcpy(&bits, &x, 8);
    return bits;
}

constexpr double LN2 = 0.69314718055994530942;
constexpr double MAGIC = 6755399441055744.0;  // 1.5 * 2^52: added to a small integer, it stands in the lowest bits

// e^x to 1e-15; beyond +-200, where floats have long been infinite or zero, that of +-200.
EACH_ENTRY double exp_wide(const double x) {
    const double bounded = x > 200 ? 200 : x < -200 ? -200 : x;
    const double shifted = bounded * (1 / LN2) + MAGIC, k = shifted - MAGIC;
    const double r = (bounded - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;  // ln 2 in two parts
    double p = 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    return p * from_bits((to_bits(shifted) + 1023) << 52);
}

// e^x - 1, exact near 0.
EACH_ENTRY double expm1_wide(const double x) {
    const double e = exp_wide(x) - 1;
    return std::fabs(x) < 1e-5 ? x + 0.5 * x * x : e;
}

// log x to 1e-14, for what a float or a sum with one may be.
EACH_ENTRY double log_wide(const double x) {
    constexpr uint64_t ROOT_HALF = 0x3fe6a09e667f3bcd, ONE = 0x3ff0000000000000, FRACTION = 0x000fffffffffffff;
    const uint64_t offset = to_bits(x) - ROOT_HALF + ONE;
    const double k = from_bits((offset >> 52) + to_bits(MAGIC)) - MAGIC - 1023;
    const double m = from_bits((offset & FRACTION) + ROOT_HALF);  // from the root of a half to the root of two
    const double s = (m - 1) / (m + 1), z = s * s;                // log m = 2 (s + s^3 / 3 + s^5 / 5 + ...)
    double p = 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    p = p * z + 1;
    const double value = k * LN2 + 2 * s * p;
    const double above_zero = x > DBL_MAX ? x : value;
    const double known = x == 0 ? -INFINITY : above_zero;
    return x >= 0 ? known : NAN;
}

// log(1 + x), exact near 0.
EACH_ENTRY double log1p_wide(const double x) {
    const double l = log_wide(1 + x);
    return std::fabs(x) < 1e-5 ? x - 0.5 * x * x : l;
}

// atan x to 1e-10: on [0, tan(pi / 8)] by the polynomial in x^2 that is closest to it, elsewhere by its symmetries.
EACH_ENTRY double atan_wide(const double x) {
    const double a = std::fabs(x);
    const bool steep = a > 1;
    const double b = steep ? 1 / a : a;
    const bool upper = b > 0.41421356237309504880;
    const double t = upper ? (b - 1) / (b + 1) : b, z = t * t;
    double p = 0.047071296552574509307;
    p = p * z - 0.08456089466998970454;
    p = p * z + 0.11040471009581072209;
    p = p * z - 0.14281587307090122446;
    p = p * z + 0.1999988380385323347;
    p = p * z - 0.33333332096926027744;
    p = p * z + 0.99999999997838467283;
    const double inner = t * p + (upper ? 0.78539816339744830962 : 0.0);
    return std::copysign(steep ? 1.5707963267948966192 - inner : inner, x);
}

EACH_ENTRY double tanh_wide(const double x) {
    const double bounded = x > 20 ? 20 : x < -20 ? -20 : x;
    const double e = exp_wide(2 * bounded), value = (e - 1) / (e + 1);
    return std::fabs(x) < 1e-4 ? x - x * x * x / 3 : value;
}

// x^y as IEEE 754 has it.
EACH_ENTRY double pow_wide(const double x, const double y) {
    const double a = std::fabs(x), value = exp_wide(y * log_wide(a));
    const bool whole = std::trunc(y) == y, odd = whole & (std::trunc(0.5 * y) != 0.5 * y);
    const double sized = (a == 1) & (std::fabs(y) > FLT_MAX) ? 1 : value;
    const double is_signed = odd ? std::copysign(sized, x) : sized;
    const double real = (x < 0) & !whole & (a <= FLT_MAX) ? NAN : is_signed;
    const double known = (y == 0) | (x == 1) ? 1 : real;
    return y == 2 ? x * x : known;
}

EACH_ENTRY float exp_(const float x) { return float(exp_wide(x)); }
EACH_ENTRY float exp2_(const float x) { return float(exp_wide(x * LN2)); }
EACH_ENTRY float expm1_(const float x) { return float(expm1_wide(x)); }
EACH_ENTRY float log_(const float x) { return float(log_wide(x)); }
EACH_ENTRY float log2_(const float x) { return float(log_wide(x) * (1 / LN2)); }
EACH_ENTRY float log10_(const float x) { return float(log_wide(x) * 0.43429448190325182765); }
EACH_ENTRY float log1p_(const float x) { return float(log1p_wide(x)); }
EACH_ENTRY float atan_(const float x) { return float(atan_wide(x)); }
EACH_ENTRY float tanh_(const float x) { return float(tanh_wide(x)); }
EACH_ENTRY float pow_(const float x, const float y) { return float(pow_wide(x, y)); }
EACH_ENTRY float sigmoid_(const float x) { return float(1 / (1 + exp_wide(-double(x)))); }
EACH_ENTRY float softplus_(const float x) {
    return float((x > 0 ? double(x) : 0.0) + log1p_wide(exp_wide(-std::fabs(double(x)))));
}
#endif
