// The population machine on a GPU: the same tables, and a launch for all replicas of all rules.
//
// A block of THREADS threads works on one replica. Thread i of it has entries i, i + THREADS and so on of a tile, so
// that what an instruction computes is read by nobody else; blocks wait for all their threads before reductions,
// between the parts of a reduction, and between sections. Registers lie in memory that the threads of a block share,
// those that do not fit there in memory of the block's own. What stands at the line `operations` is printed from the op
// table.
//
// Where replicas are few and large, several blocks share one. A launch is a run of jobs: the blocks deal the first of
// them out, and the last block to be done with it does the others. What units have reduced is put together in their
// order, whoever had them. So results depend neither on how many blocks there are nor on what else runs in the same
// call.

constexpr int64_t DEVICE_TILE = THREADS * EACH;
constexpr int64_t DEPTH = THREADS < 16 ? THREADS / 2 : 8;  // units whose results are put together at a time
constexpr int64_t AHEAD = 4;                               // times as many are asked for in advance

// Jobs of a stage, in order: sections of one value or few and those that reduce rows or columns; other rows and
// columns; the entries; what all of these have reduced; what is reduced over all parameters.
enum Job { SMALL, LINES, ENTRIES, RESULTS, TOTALS, JOBS };

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
    for (int32_t k = threadIdx.x; k < cols && k < n; k += THREADS) {
        double* const column = found + (k < cols - first ? k + first : k + first - cols);
        double total = *column;
        for (int32_t i = k; i < n; i += cols) total = together(how, total, double(x[i]));
        *column = total;
    }
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

// Deals work out to the blocks of a replica in turn.
struct Deal {
    int32_t part, parts, next = 0;

    // Which of the next `count` pieces is the first for this block; every `parts`th after it is for it, too.
    DEVICE int32_t first(const int64_t count) {
        const int32_t own = part < next ? part + parts - next : part - next;
        next = int32_t((uint32_t(next) + uint32_t(count)) % uint32_t(parts));
        return own;
    }
};

// Results of a reduction where each of many units has partial results of its own. The block reads them for LINE
// results, DEPTH * AHEAD units at a time, and its first LINE threads put them together in the order of the units; a
// thread that read them one by one would wait for memory as often as there are units.
template <typename A>
DEVICE inline void combine_many(const Parameter& p, const Reduction& r, const Desk<A>& desk, double* const found,
                                A* const to, const int64_t sets, const int64_t results, Deal& deal) {
    constexpr int32_t LINE = THREADS / DEPTH;
    const int32_t thread = threadIdx.x, lane = thread % LINE, row = thread / LINE;
    const int64_t width = set_size(p, r);
    for (int64_t n = deal.first((results + LINE - 1) / LINE) * LINE; n < results; n += deal.parts * LINE) {
        const int64_t i = n + lane, own = i / width * sets * width + i % width;
        double value = start<double>(r.how);
        for (int64_t u = 0; u < sets; u += DEPTH * AHEAD) {
            double x[AHEAD];
#pragma unroll
            for (int32_t k = 0; k < AHEAD; ++k) {
                const int64_t unit = u + k * DEPTH + row;
                x[k] = i < results && unit < sets ? found[own + unit * width] : 0.0;
            }
#pragma unroll
            for (int32_t k = 0; k < AHEAD; ++k) {
                const int32_t there = int32_t(least(DEPTH, sets - (u + k * DEPTH)));
                desk.lanes[thread] = x[k];
                __syncthreads();
                if (row == 0) {
#pragma unroll
                    for (int32_t d = 0; d < DEPTH; ++d)
                        if (d < there) value = together(r.how, value, desk.lanes[d * LINE + lane]);
                }
                __syncthreads();
            }
        }
        if (row == 0 && i < results) leave(p, r, found, to, i, value);
    }
}

// Results of a section's reductions; what is reduced over all parameters is left as one number.
template <typename A>
DEVICE void combine(const Parameter& p, const Section& s, const Desk<A>& desk, Deal& deal) {
    const Units units(p, s.domain, desk.unit);
    for (int64_t k = s.reductions; k < s.reductions_end; ++k) {
        const Reduction& r = p.code->reductions[k];
        double* const found = place(p, desk, k, 0);
        A* const to = desk.spaces[p.code->spaces[r.to]] + p.offsets[r.to];
        const int64_t results = r.shared ? 1 : p.lengths[r.onto], sets = r.onto == COL ? units.parts : units.count;
        if (r.onto == SCALAR && units.count > THREADS) {
            if (deal.first(1)) continue;
            double total = start<double>(r.how);
            for (int64_t u = threadIdx.x; u < units.count; u += THREADS) total = together(r.how, total, found[u]);
            const double value = gathered(desk.lanes, r.how, total, THREADS);
            if (threadIdx.x == 0) leave(p, r, found, to, 0, value);
        } else if (set_size(p, r) && sets > DEPTH * AHEAD) {
            combine_many(p, r, desk, found, to, sets, results, deal);
        } else {
            const int64_t first = deal.first((results + THREADS - 1) / THREADS) * THREADS;
            for (int64_t i = first + threadIdx.x; i < results; i += deal.parts * THREADS)
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

// Which of the jobs a section is part of: rows and columns can be split where nothing is reduced.
DEVICE inline int32_t job_of(const Section& s) {
    if (s.domain == TENSOR) return ENTRIES;
    return s.domain >= ROW && s.reductions == s.reductions_end ? LINES : SMALL;
}

// What a stage computes in the jobs from one to before another: the units of their sections.
template <typename A>
DEVICE void run_sections(const Desk<A>& desk, const int64_t stage, const int32_t from, const int32_t to, Deal deal) {
    each_section(desk, stage, [&](const Parameter& p, const Section& s) {
        const int32_t job = job_of(s);
        if (job < from || job >= to) return;
        Units units(p, s.domain, desk.unit);
        if (job == LINES && deal.parts > 1) {
            units.size = DEVICE_TILE;
            units.count = (units.length + DEVICE_TILE - 1) / DEVICE_TILE;
        }
        for (int64_t u = job == SMALL ? deal.part : deal.first(units.count); u < units.count; u += deal.parts)
            run_unit(p, s, units, u, desk);
    });
}

// Put together what a stage has reduced. Not inlined: the entries' registers would not suffice for it, too.
template <typename A> DEVICE __noinline__ void put_together(const Desk<A>& desk, const int64_t stage, Deal deal) {
    __syncthreads();
    each_section(desk, stage, [&](const Parameter& p, const Section& s) { combine(p, s, desk, deal); });
}

// And over all parameters, by one block.
template <typename A> DEVICE void share_all(const Desk<A>& desk, const int64_t stage) {
    __syncthreads();
    const Code& code = *desk.program->parameters[0].code;  // the only one of a rule that shares anything
    if (stage < code.stage_count)
        for (int64_t k = code.stages[stage]; k < code.stages[stage + 1]; ++k)
            share(*desk.program, code.sections[k], desk);
}

// The jobs from one to before another, which are counted on from stage to stage.
template <typename A> DEVICE void run_jobs(const Desk<A>& desk, const int32_t from, const int32_t to, const Deal deal) {
    for (int32_t k = from / JOBS; k * JOBS < to && k < desk.program->stage_count; ++k) {
        const int32_t first = from - k * JOBS, end = to - k * JOBS;
        if (first <= ENTRIES) run_sections(desk, k, first, end, deal);
        if (first <= RESULTS && RESULTS < end) put_together(desk, k, deal);
        if (TOTALS < end) share_all(desk, k);
    }
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

// A block's part of a launch. The lower half of `jobs` is the first job, the upper half the one to stop before.
template <typename A> DEVICE void run_block(const Call& c, Desk<A>& desk, const int32_t jobs) {
    const int64_t replica = blockIdx.x / c.parts;
    const int32_t end = jobs >> 16;
    if (threadIdx.x == 0) sit_down(c, desk, replica);
    __syncthreads();
    Deal deal{int32_t(blockIdx.x % c.parts), int32_t(c.parts)};
    int32_t from = jobs & 0xffff, to = c.parts == 1 ? end : from + 1;
    if (from / JOBS >= desk.program->stage_count) return;
    while (true) {
        run_jobs(desk, from, to, deal);
        if (to == end || !arrives_last(c, desk, replica)) return;
        from = to;
        to = end;
        deal = Deal{0, 1};
    }
}
