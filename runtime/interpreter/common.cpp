// What interpreters of the population machine have in common: the tables that describe a step, and who computes what.
//
// DEVICE stands before functions that a GPU runs, too. The tables are filled by the launchers.

enum Domain { SCALAR, PLANE, ROW, COL, TENSOR, DOMAINS };
enum Space { REGISTER, PARAMETER, GRADIENT, STATE, NUMBER, SCRATCH, SPACES };
enum How { SUM, AMAX, AMIN };

struct Instruction { int32_t op, to, x[5]; };
struct Section { int32_t domain, code, code_end, moving, moving_end, reductions, reductions_end; };
struct Reduction { int32_t how, to, domain, onto, mean, shared; };

struct Code {  // of one class of parameters
    const Instruction* instructions;
    const Section* sections;
    const Reduction* reductions;
    const int32_t* stages;  // the first section of each stage, and the end
    const int32_t* moving;  // by section, the values that advance with its entries
    const int32_t* spaces;  // of each value
    int64_t stage_count, value_count, lined;
};

struct Parameter {
    const Code* code;
    const int64_t* offsets;   // of each value in its space
    const int64_t* partials;  // of each reduction among the partial results
    int64_t lengths[DOMAINS], rows, cols;
};

struct Program {
    const Parameter* parameters;
    int64_t parameter_count, stage_count;
};

struct Member {  // all replicas of one rule
    const Program* program;
    void* state;
    const void* numbers;  // by step and replica
    int64_t state_stride, number_stride, replicas;
};

template <typename A> DEVICE inline A start(const int how) {
    return how == SUM ? A(0) : A(how == AMAX ? -INFINITY : INFINITY);
}

template <typename A> DEVICE inline A together(const int how, const A total, const A x) {
    return how == SUM ? total + x : how == AMAX ? max_(x, total) : min_(x, total);
}

DEVICE inline int64_t least(const int64_t a, const int64_t b) { return a < b ? a : b; }

// The entries of a domain fall into groups of this length: one per entry of the smaller domain, or one per line.
DEVICE inline int64_t group(const Parameter& p, const int domain, const int smaller) {
    switch (smaller) {
    case SCALAR: return p.lengths[domain] > 1 ? p.lengths[domain] : 1;
    case PLANE: return domain == ROW ? p.rows : domain == COL ? p.cols : p.rows * p.cols;
    default: return p.cols;
    }
}

// How the entries of a domain are shared out, about `size` to a unit: by whole rows of one plane where rows matter.
struct Units {
    int64_t length, rows, cols, size, parts = 0, count = 1;

    DEVICE Units(const Parameter& p, const int domain, const int64_t size)
        : length(p.lengths[domain]), rows(p.rows), cols(p.cols), size(size) {
        if (domain != TENSOR || length <= 0) return;
        count = (length + size - 1) / size;
        if (!p.code->lined) return;
        parts = least((rows * cols + size - 1) / size, rows);
        count = length / (rows * cols) * parts;
    }

    DEVICE int64_t begin(const int64_t unit) const {
        if (unit == count) return length;
        return parts ? (unit / parts * rows + rows * (unit % parts) / parts) * cols : unit * size;
    }
};

// How many partial results of a reduction each unit has for itself; rows and planes stand side by side instead.
DEVICE inline int64_t set_size(const Parameter& p, const Reduction& r) {
    return r.domain != TENSOR ? 0 : r.onto == COL ? p.cols : r.onto == SCALAR ? 1 : 0;
}

// Result i of a reduction, from the partial results of all units in order.
DEVICE inline double combined(const Parameter& p, const Reduction& r, const Units& units, const double* const found,
                              const int64_t i) {
    const int64_t width = set_size(p, r), sets = !width ? 1 : r.onto == COL ? units.parts : units.count;
    const double* const own = found + (width ? i / width * sets * width + i % width : i);
    double value = own[0];
    for (int64_t u = 1; u < sets; ++u) value = together(r.how, value, own[u * width]);
    return value;
}

// By what the sum over a parameter is divided for a mean.
DEVICE inline double divisor(const Parameter& p, const Reduction& r) {
    return r.mean && !r.shared ? double(p.lengths[r.domain]) / double(p.lengths[r.onto]) : 1.0;
}

// A reduction over all parameters, for each of them, where it is one; `place` says where a parameter has left its part.
template <typename A, typename D>
DEVICE inline void share_reduction(const Program& program, const D& desk, const int64_t k) {
    const Parameter* const ps = program.parameters;
    const Reduction& r = ps->code->reductions[k];
    if (!r.shared) return;
    double value = *place(ps[0], desk, k, 0), count = double(ps[0].lengths[r.domain]);
    for (int64_t i = 1; i < program.parameter_count; ++i) {
        value = together(r.how, value, *place(ps[i], desk, k, 0));
        count += double(ps[i].lengths[r.domain]);
    }
    for (int64_t i = 0; i < program.parameter_count; ++i)
        desk.spaces[SCRATCH][ps[i].offsets[r.to]] = A(r.mean ? value / count : value);
}
