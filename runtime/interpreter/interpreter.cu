// The population machine on a GPU: the same tables, and a launch for all replicas of all rules.
//
// A block of THREADS threads works on one replica. Thread i of it has entries i, i + THREADS and so on of a tile, so
// that what an instruction computes is read by nobody else; blocks wait for all their threads before reductions,
// between the parts of a reduction, and between sections. Registers lie in memory that the threads of a block share,
// those that do not fit there in memory of the block's own. What stands at the line `operations` is printed from the op
// table.
//
// Where replicas are few and large, several blocks share one: each takes some of the units, and the last to be done
// puts together what they have reduced, in the order of the units, whoever had them. So results depend neither on how
// many blocks there are nor on what else runs in the same call.

constexpr int64_t DEVICE_TILE = THREADS * EACH;
constexpr int32_t EVERY = -1, BEFORE = -2;  // instead of a stage: all of them, and what comes before the first one

struct Call {
    const Member* members;
    const int64_t *member_of, *row_of, *place_of;  // of each replica: its rule, its row there, its row in w and g
    const int64_t* clock;                          // how many steps have been taken
    int32_t* arrived;                              // blocks of each replica that are done with a stage
    void* w;
    const void* g;
    void* scratch;      // of each replica
    void* registers;    // of each block: those that are not shared
    double* partials;   // of each replica
    int64_t block, width, scratch_stride, register_stride, partial_stride, most_values, shared_registers, unit, parts;
};

template <typename A> struct alignas(16) Operand {
    A* at;
    int64_t moves;  // all bits where it advances with the entries, else none
};

// What the threads of a block share; operands and registers lie DESK bytes on.
template <typename A> struct Desk {
    mutable double lanes[THREADS];
    A* spaces[SPACES];
    A *shared, *own;  // registers
    double* partials;
    Operand<A>* operands;
    const Program* program;
    int64_t shared_registers, unit;
    int32_t last;
};

template <typename A> DEVICE inline void sit_down(const Call& c, Desk<A>& desk, const int64_t replica) {
    const Member& m = c.members[c.member_of[replica]];
    const int64_t row = c.row_of[replica], place = c.place_of[replica], step = *c.clock % c.block;
    desk.spaces[REGISTER] = nullptr;
    desk.spaces[PARAMETER] = static_cast<A*>(c.w) + place * c.width;
    desk.spaces[GRADIENT] = const_cast<A*>(static_cast<const A*>(c.g)) + place * c.width;
    desk.spaces[STATE] = static_cast<A*>(m.state) + row * m.state_stride;
    desk.spaces[NUMBER] = const_cast<A*>(static_cast<const A*>(m.numbers)) + (step * m.replicas + row) * m.number_stride;
    desk.spaces[SCRATCH] = static_cast<A*>(c.scratch) + replica * c.scratch_stride;
    static_assert(sizeof(desk) <= DESK, "operands lie behind the desk");
    desk.operands = reinterpret_cast<Operand<A>*>(reinterpret_cast<char*>(&desk) + DESK);
    desk.shared = reinterpret_cast<A*>(desk.operands + c.most_values);
    desk.own = static_cast<A*>(c.registers) + blockIdx.x * c.register_stride;
    desk.partials = c.partials + replica * c.partial_stride;
    desk.program = m.program;
    desk.shared_registers = c.shared_registers;
    desk.unit = c.unit;
}

template <typename A> DEVICE inline A* register_at(const Desk<A>& desk, const int64_t number) {
    const int64_t own = number - desk.shared_registers;
    return own < 0 ? desk.shared + number * DEVICE_TILE : desk.own + own * DEVICE_TILE;
}

// Find the operands of a section.
template <typename A> DEVICE inline void lay_out(const Parameter& p, const Section& s, const Desk<A>& desk) {
    const Code& code = *p.code;
    for (int64_t v = threadIdx.x; v < code.value_count; v += THREADS) {
        const int32_t space = code.spaces[v];
        const int64_t offset = p.offsets[v];
        desk.operands[v].at = space == REGISTER ? register_at(desk, offset / TILE) : desk.spaces[space] + offset;
        desk.operands[v].moves = 0;
    }
    __syncthreads();
    for (int64_t k = s.moving + threadIdx.x; k < s.moving_end; k += THREADS) desk.operands[code.moving[k]].moves = -1;
}

// Where a unit leaves what it reduces.
template <typename A>
DEVICE inline double* place(const Parameter& p, const Desk<A>& desk, const int64_t reduction, const int64_t unit) {
    return desk.partials + p.partials[reduction] + unit * set_size(p, p.code->reductions[reduction]);
}

// What `width` threads in a row hold, put together, for the first of them. Every thread of the block takes part.
DEVICE inline double gathered(double* const lanes, const int how, const double own, const int32_t width) {
    const int32_t thread = threadIdx.x, lane = thread % width;
    lanes[thread] = own;
    __syncthreads();
    for (int32_t half = width / 2; half; half /= 2) {
        if (lane < half) lanes[thread] = together(how, lanes[thread], lanes[thread + half]);
        __syncthreads();
    }
    return lanes[thread];
}

// The entries of a tile, column by column.
template <typename A>
DEVICE inline void reduce_columns(const Parameter& p, const int how, double* const found, const A* const x,
                                  const int64_t begin, const int32_t n) {
    const int32_t cols = int32_t(p.cols), first = int32_t(begin % p.cols);
    for (int32_t c = threadIdx.x; c < cols; c += THREADS)
        for (int64_t i = c < first ? c + cols - first : c - first; i < n; i += cols)
            found[c] = together(how, found[c], double(x[i]));
    __syncthreads();
}

// The entries of a tile, group by group: as many threads to each group as there are for all of them at once.
template <typename A>
DEVICE inline void reduce_groups(const int64_t length, const int how, const Desk<A>& desk, double* found,
                                 const A* const x, const int64_t begin, const int32_t n) {
    const int64_t group = begin / length, before = begin - group * length;  // entries of the first group before these
    const int32_t groups = int32_t((before + n - 1) / length) + 1;
    int32_t width = THREADS;
    while (width > 1 && width * groups > THREADS) width /= 2;
    for (int32_t done = 0; done < groups; done += THREADS / width) {
        const int32_t k = done + int32_t(threadIdx.x) / width, lane = int32_t(threadIdx.x) % width;
        const int64_t from = k * length - before, to = least(from + length, n);
        A total = start<A>(how);
        for (int64_t i = (from < 0 ? 0 : from) + lane; i < to; i += width) total = together(how, total, x[i]);
        const double value = gathered(desk.lanes, how, double(total), width);
        if (lane == 0 && k < groups) found[group + k] = together(how, found[group + k], value);
    }
}

template <typename A>
DEVICE void reduce(const Parameter& p, const Reduction& r, const Desk<A>& desk, double* const found,
                   const Operand<A>& from, const int64_t begin, const int32_t n) {
    const A* const x = from.at + (from.moves & begin);
    __syncthreads();  // other threads have computed these entries
    if (r.onto == COL) reduce_columns(p, r.how, found, x, begin, n);
    else reduce_groups(group(p, r.domain, r.onto), r.how, desk, found, x, begin, n);
}

template <typename A>
DEVICE void expand(const Parameter& p, const int domain, const int from, const Operand<A>& result,
                   const Operand<A>& small, const int64_t begin, const int32_t n) {
    const uint32_t length = uint32_t(group(p, domain, from)), rows = uint32_t(p.rows), cols = uint32_t(p.cols);
    A* const to = result.at + (result.moves & begin);
    for (int32_t i = threadIdx.x; i < n; i += THREADS) {
        const uint32_t e = uint32_t(begin) + i, k = e / length;
        to[i] = small.at[from == COL ? k / rows * cols + (e - k * length) : k];
    }
}

// One operation, entry by entry. Bit j of `vectors` says that argument j has a value for each, not one for all.
template <int count, int vectors, typename A, typename F>
DEVICE inline void entries(const Desk<A>& desk, const Instruction* const c, const int64_t begin, const int32_t n,
                           const F f) {
    A x[count][EACH], y[EACH];
#pragma unroll
    for (int j = 0; j < count; ++j) {
        const Operand<A> from = desk.operands[c->x[j]];
        const A* const at = from.at + (from.moves & begin);
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            const int32_t i = threadIdx.x + k * THREADS;
            x[j][k] = !(vectors >> j & 1) ? *at : i < n ? at[i] : A(0);
        }
    }
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
        if constexpr (count == 1) y[k] = f(x[0][k]);
        if constexpr (count == 2) y[k] = f(x[0][k], x[1][k]);
        if constexpr (count == 3) y[k] = f(x[0][k], x[1][k], x[2][k]);
        if constexpr (count == 4) y[k] = f(x[0][k], x[1][k], x[2][k], x[3][k]);
        if constexpr (count == 5) y[k] = f(x[0][k], x[1][k], x[2][k], x[3][k], x[4][k]);
    }
    const Operand<A> result = desk.operands[c->to];
    A* const to = result.at + (result.moves & begin);
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
        const int32_t i = threadIdx.x + k * THREADS;
        if (i < n) to[i] = y[k];
    }
}

// The instructions of a section on entries `begin` and the n - 1 after it.
template <typename A>
DEVICE void tile(const Parameter& p, const Section& s, const Desk<A>& desk, const int64_t unit, const int64_t begin,
                 const int32_t n) {
    const Instruction* const last = p.code->instructions + s.code_end;
    for (const Instruction* c = p.code->instructions + s.code; c != last; ++c) {
        switch (c->op) {
        case REDUCE + SUM:
        case REDUCE + AMAX:
        case REDUCE + AMIN: {
            const int64_t k = s.reductions + c->to;
            const Operand<A> from = desk.operands[c->x[0]];
            reduce(p, p.code->reductions[k], desk, place(p, desk, k, unit), from, begin, n);
            break;
        }
        case EXPAND: expand(p, s.domain, c->x[1], desk.operands[c->to], desk.operands[c->x[0]], begin, n); break;
// operations
        }
    }
}

// Not inlined: it stands in several places, and all operations are in it.
template <typename A>
DEVICE __noinline__ void run_unit(const Parameter& p, const Section& s, const Units& units, const int64_t unit,
                                  const Desk<A>& desk) {
    const int64_t begin = units.begin(unit), end = units.begin(unit + 1);
    __syncthreads();
    lay_out(p, s, desk);
    for (int64_t k = s.reductions; k < s.reductions_end; ++k) {
        const Reduction& r = p.code->reductions[k];
        const int64_t length = group(p, r.domain, r.onto);
        const int64_t from = r.onto == COL || r.onto == SCALAR ? 0 : begin / length;
        const int64_t to = r.onto == COL ? p.cols : r.onto == SCALAR ? 1 : end / length;
        double* const found = place(p, desk, k, unit);
        for (int64_t i = from + threadIdx.x; i < to; i += THREADS) found[i] = start<double>(r.how);
    }
    __syncthreads();
    for (int64_t e = begin; e < end; e += DEVICE_TILE)
        tile(p, s, desk, unit, e, int32_t(least(DEVICE_TILE, end - e)));
}

template <typename A>
DEVICE inline void leave(const Parameter& p, const Reduction& r, double* const found, A* const to, const int64_t i,
                         const double value) {
    if (r.shared) found[0] = value;
    else to[i] = A(value / divisor(p, r));
}

// Results of a section's reductions; what is reduced over all parameters is left as one number.
template <typename A> DEVICE void combine(const Parameter& p, const Section& s, const Desk<A>& desk) {
    const Units units(p, s.domain, desk.unit);
    for (int64_t k = s.reductions; k < s.reductions_end; ++k) {
        const Reduction& r = p.code->reductions[k];
        double* const found = place(p, desk, k, 0);
        A* const to = desk.spaces[p.code->spaces[r.to]] + p.offsets[r.to];
        const int64_t results = r.shared ? 1 : p.lengths[r.onto];
        if (r.onto == SCALAR && units.count > THREADS) {
            double total = start<double>(r.how);
            for (int64_t u = threadIdx.x; u < units.count; u += THREADS) total = together(r.how, total, found[u]);
            const double value = gathered(desk.lanes, r.how, total, THREADS);
            if (threadIdx.x == 0) leave(p, r, found, to, 0, value);
        } else {
            for (int64_t i = threadIdx.x; i < results; i += THREADS)
                leave(p, r, found, to, i, combined(p, r, units, found, i));
        }
    }
}

// What a stage reduces over all parameters, for each of them.
template <typename A> DEVICE void share(const Program& program, const Section& s, const Desk<A>& desk) {
    for (int64_t k = s.reductions + threadIdx.x; k < s.reductions_end; k += THREADS) share_reduction<A>(program, desk, k);
}

// Call f with every section of a stage and its parameter.
template <typename A, typename F> DEVICE inline void each_section(const Desk<A>& desk, const int64_t stage, const F f) {
    for (int64_t i = 0; i < desk.program->parameter_count; ++i) {
        const Parameter& p = desk.program->parameters[i];
        if (stage >= p.code->stage_count) continue;
        for (int64_t k = p.code->stages[stage]; k < p.code->stages[stage + 1]; ++k) f(p, p.code->sections[k]);
    }
}

// What a stage computes before it looks at the entries, by one block.
template <typename A> DEVICE void run_small(const Desk<A>& desk, const int64_t stage) {
    each_section(desk, stage, [&](const Parameter& p, const Section& s) {
        if (s.domain != TENSOR) run_unit(p, s, Units(p, s.domain, desk.unit), 0, desk);
    });
}

// What it computes for the entries: the units of all parameters, dealt to the blocks of a replica in turn.
template <typename A>
DEVICE void run_entries(const Desk<A>& desk, const int64_t stage, const int64_t part, const int64_t parts) {
    int64_t dealt = 0;
    each_section(desk, stage, [&](const Parameter& p, const Section& s) {
        if (s.domain != TENSOR) return;
        const Units units(p, s.domain, desk.unit);
        for (int64_t u = (part + parts - dealt % parts) % parts; u < units.count; u += parts)
            run_unit(p, s, units, u, desk);
        dealt += units.count;
    });
}

// Put together what a stage has reduced, by one block.
template <typename A> DEVICE void finish(const Desk<A>& desk, const int64_t stage) {
    __syncthreads();
    each_section(desk, stage, [&](const Parameter& p, const Section& s) { combine(p, s, desk); });
    __syncthreads();
    const Code& code = *desk.program->parameters[0].code;  // the only one of a rule that shares anything
    if (stage < code.stage_count)
        for (int64_t k = code.stages[stage]; k < code.stages[stage + 1]; ++k)
            share(*desk.program, code.sections[k], desk);
}

// Whether this is the last block of a replica to get here; it sees then what the others have written.
template <typename A> DEVICE bool arrives_last(const Call& c, Desk<A>& desk, const int64_t replica) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        desk.last = atomicAdd(c.arrived + replica, 1) == c.parts - 1;
        if (desk.last) c.arrived[replica] = 0;  // for the next launch
    }
    __syncthreads();
    __threadfence();
    return desk.last;
}

// A block's part of a step, or of one stage of it.
template <typename A> DEVICE void run_block(const Call& c, Desk<A>& desk, const int32_t stage) {
    const int64_t replica = blockIdx.x / c.parts, part = blockIdx.x % c.parts;
    if (threadIdx.x == 0) sit_down(c, desk, replica);
    __syncthreads();
    if (stage == EVERY) {
        for (int64_t k = 0; k < desk.program->stage_count; ++k) {
            run_small(desk, k);
            run_entries(desk, k, 0, 1);
            finish(desk, k);
        }
    } else if (stage == BEFORE) {
        if (part == 0) run_small(desk, 0);
    } else if (stage < desk.program->stage_count) {
        run_entries(desk, stage, part, c.parts);
        if (!arrives_last(c, desk, replica)) return;
        finish(desk, stage);
        if (stage + 1 < desk.program->stage_count) run_small(desk, stage + 1);
    }
}
