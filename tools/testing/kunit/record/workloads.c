// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads to record allocation patterns of: see command.py.
 *
 *	record_workloads conntrack|agent|storm
 *
 * They are programs of the kind that people run, cut down: real BPF programs,
 * loaded through bpf() and attached to real events, with hash maps that do not
 * preallocate. Nothing is linked but libc, so that an initramfs can hold it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define CPUS		4

static void die(const char *what)
{
	fprintf(stderr, "record_workloads: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

static void run_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

/* Maps */

static long bpf(int cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static int make_map(const char *name, uint32_t key_size, uint32_t value_size, uint32_t max)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_HASH,
		.map_flags = BPF_F_NO_PREALLOC,
		.key_size = key_size,
		.value_size = value_size,
		.max_entries = max,
	};
	int fd;

	strncpy(attr.map_name, name, sizeof(attr.map_name) - 1);
	fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		die("BPF_MAP_CREATE");
	return fd;
}

static void map_update(int fd, const void *key, const void *value)
{
	union bpf_attr attr = {
		.map_fd = fd,
		.key = (uintptr_t)key,
		.value = (uintptr_t)value,
	};

	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		die("BPF_MAP_UPDATE_ELEM");
}

static int map_delete(int fd, const void *key)
{
	union bpf_attr attr = { .map_fd = fd, .key = (uintptr_t)key };

	return bpf(BPF_MAP_DELETE_ELEM, &attr);
}

/* False after the last; @key NULL: the first. */
static int map_next(int fd, const void *key, void *next)
{
	union bpf_attr attr = {
		.map_fd = fd,
		.key = (uintptr_t)key,
		.next_key = (uintptr_t)next,
	};

	return !bpf(BPF_MAP_GET_NEXT_KEY, &attr);
}

/* Programs: instructions that follow one another */

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define MOV_REG(d, s)		INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_IMM(d, i)		INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD_IMM(d, i)		INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define STORE(off, s)		INSN(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_10, s, off, 0)
#define STORE_IMM(off, i)	INSN(BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, off, i)
#define LOAD(d, off)		INSN(BPF_LDX | BPF_MEM | BPF_DW, d, BPF_REG_10, off, 0)
#define CALL(func)		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, func)
#define JEQ_IMM(d, i, o)	INSN(BPF_JMP | BPF_JEQ | BPF_K, d, 0, o, i)
#define JNE_IMM(d, i, o)	INSN(BPF_JMP | BPF_JNE | BPF_K, d, 0, o, i)
#define JUMP(o)			INSN(BPF_JMP | BPF_JA, 0, 0, o, 0)
#define EXIT()			INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#define MAX_INSNS	512

struct prog {
	unsigned int nr;
	struct bpf_insn insns[MAX_INSNS];
};

static void emit(struct prog *prog, struct bpf_insn insn)
{
	if (prog->nr == MAX_INSNS) {
		errno = E2BIG;
		die("program");
	}
	prog->insns[prog->nr++] = insn;
}

static void emit_map(struct prog *prog, int reg, int fd)
{
	emit(prog, INSN(BPF_LD | BPF_DW | BPF_IMM, reg, BPF_PSEUDO_MAP_FD, 0, fd));
	emit(prog, INSN(0, 0, 0, 0, 0));
}

/* A register gets the address of stack + offset. */
static void emit_address(struct prog *prog, int reg, int offset)
{
	emit(prog, MOV_REG(reg, BPF_REG_10));
	emit(prog, ADD_IMM(reg, offset));
}

static void emit_update(struct prog *prog, int fd, int key, int value)
{
	emit_map(prog, BPF_REG_1, fd);
	emit_address(prog, BPF_REG_2, key);
	emit_address(prog, BPF_REG_3, value);
	emit(prog, MOV_IMM(BPF_REG_4, BPF_ANY));
	emit(prog, CALL(BPF_FUNC_map_update_elem));
}

static void emit_delete(struct prog *prog, int fd, int key)
{
	emit_map(prog, BPF_REG_1, fd);
	emit_address(prog, BPF_REG_2, key);
	emit(prog, CALL(BPF_FUNC_map_delete_elem));
}

static void emit_return(struct prog *prog)
{
	emit(prog, MOV_IMM(BPF_REG_0, 0));
	emit(prog, EXIT());
}

static int load(const struct prog *prog, enum bpf_prog_type type)
{
	static char log[65536];
	union bpf_attr attr = {
		.prog_type = type,
		.insns = (uintptr_t)prog->insns,
		.insn_cnt = prog->nr,
		.license = (uintptr_t)"GPL",
		.log_buf = (uintptr_t)log,
		.log_size = sizeof(log),
		.log_level = 1,
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0) {
		fputs(log, stderr);
		die("BPF_PROG_LOAD");
	}
	return fd;
}

/* On all CPUs: an event of perf is of one. */
static void attach_tracepoint(int prog_fd, const char *name)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.sample_period = 1,
		.wakeup_events = 1,
	};
	char path[128], text[32] = "";
	int cpu, fd;

	snprintf(path, sizeof(path), "/sys/kernel/tracing/events/%s/id", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		die(path);
	close(fd);
	attr.config = atoi(text);
	for (cpu = 0; cpu < CPUS; cpu++) {
		fd = syscall(__NR_perf_event_open, &attr, -1, cpu, -1, 0);
		if (fd < 0)
			die("perf_event_open");
		/* The program is the tracepoint's, not one CPU's. */
		if (!cpu && ioctl(fd, PERF_EVENT_IOC_SET_BPF, prog_fd))
			die("PERF_EVENT_IOC_SET_BPF");
		if (ioctl(fd, PERF_EVENT_IOC_ENABLE, 0))
			die("PERF_EVENT_IOC_ENABLE");
	}
}

static void on_all_cpus(void *(*thread)(void *))
{
	pthread_t threads[CPUS];
	uintptr_t cpu;

	for (cpu = 0; cpu < CPUS; cpu++) {
		if (pthread_create(&threads[cpu], NULL, thread, (void *)cpu))
			die("pthread_create");
	}
	for (cpu = 0; cpu < CPUS; cpu++)
		pthread_join(threads[cpu], NULL);
}

/*
 * conntrack: what a firewall does. Packets over loopback open flows, go on with
 * them and close them; a socket filter, which runs in the softirq that receives
 * them, keeps a map of open flows. Some are never closed: a task removes them.
 */
#define FLOWS		700	/* of each CPU */
#define FLOW_OPEN	64	/* at a time, of each CPU */
#define FLOW_LIMIT	300	/* ms after which a flow is removed */

enum { PACKET_OPEN = 1, PACKET_MORE, PACKET_CLOSE };

struct packet {
	uint64_t flow;
	uint64_t opened;	/* ms */
	uint64_t what;
};

static int flows;
static struct sockaddr_in address = { .sin_family = AF_INET };

static int filter_flows(void)
{
	enum { PACKET = -24, WHAT = -8, VALUE = -80 };
	struct prog prog = {};
	unsigned int i, done[3], nr = 0;

	/* The data begins behind the UDP header. */
	emit(&prog, MOV_IMM(BPF_REG_2, 8));
	emit_address(&prog, BPF_REG_3, PACKET);
	emit(&prog, MOV_IMM(BPF_REG_4, sizeof(struct packet)));
	emit(&prog, CALL(BPF_FUNC_skb_load_bytes));
	done[nr++] = prog.nr;
	emit(&prog, JNE_IMM(BPF_REG_0, 0, 0));
	emit(&prog, LOAD(BPF_REG_7, WHAT));
	emit(&prog, JNE_IMM(BPF_REG_7, PACKET_CLOSE, 6));
	emit_delete(&prog, flows, PACKET);
	done[nr++] = prog.nr;
	emit(&prog, JUMP(0));
	done[nr++] = prog.nr;
	emit(&prog, JNE_IMM(BPF_REG_7, PACKET_OPEN, 0));
	for (i = 0; i < 7; i++)
		emit(&prog, STORE_IMM(VALUE + 8 * (int)i, 0));
	emit_update(&prog, flows, PACKET, VALUE);
	for (i = 0; i < nr; i++)
		prog.insns[done[i]].off = prog.nr - done[i] - 1;
	emit_return(&prog);
	return load(&prog, BPF_PROG_TYPE_SOCKET_FILTER);
}

static void *send_flows(void *cpu)
{
	struct packet open[FLOW_OPEN];
	unsigned int nr = 0, made = 0, seed = 1 + (uintptr_t)cpu, i, burst;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	run_on((uintptr_t)cpu);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die("socket");
	while (made < FLOWS || nr) {
		/* Connections come in bursts. */
		burst = rand_r(&seed) % 4 ? 1 : 1 + rand_r(&seed) % 24;
		while (burst-- && made < FLOWS && nr < FLOW_OPEN) {
			open[nr] = (struct packet){
				.flow = ((uint64_t)(uintptr_t)cpu << 32) + made++,
				.opened = now_ms(),
				.what = PACKET_OPEN,
			};
			send(fd, &open[nr++], sizeof(open[0]), 0);
		}
		for (i = 0; i < nr; i++) {
			unsigned int fate = rand_r(&seed) % 32;

			/* Most live for some rounds; one in ten is never closed. */
			if (fate > 3)
				continue;
			open[i].what = fate ? PACKET_CLOSE : PACKET_MORE;
			if (fate != 3 || rand_r(&seed) % 3)
				send(fd, &open[i], sizeof(open[0]), 0);
			if (fate)
				open[i--] = open[--nr];
		}
		usleep(1000 + rand_r(&seed) % 4000);
	}
	close(fd);
	return NULL;
}

/* Returns how many are left. */
static unsigned int reap_flows(uint64_t until)
{
	struct { uint64_t flow, opened; } key, next;
	unsigned int left = 0;
	int more = map_next(flows, NULL, &key), has_next;

	while (more) {
		has_next = map_next(flows, &key, &next);
		if (key.opened < until)
			map_delete(flows, &key);
		else
			left++;
		key = next;
		more = has_next;
	}
	return left;
}

static volatile int senders_done;

static void *reaper(void *unused)
{
	while (!senders_done || reap_flows(now_ms() - FLOW_LIMIT)) {
		usleep(100000);
		reap_flows(now_ms() - FLOW_LIMIT);
	}
	return unused;
}

static void conntrack(void)
{
	socklen_t size = sizeof(address);
	int prog, fd = socket(AF_INET, SOCK_DGRAM, 0);
	pthread_t thread;

	flows = make_map("conntrack", 16, 56, 65536);
	prog = filter_flows();
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) ||
	    getsockname(fd, (struct sockaddr *)&address, &size) ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &prog, sizeof(prog)))
		die("socket");
	if (pthread_create(&thread, NULL, reaper, NULL))
		die("pthread_create");
	on_all_cpus(send_flows);
	senders_done = 1;
	pthread_join(thread, NULL);
}

/*
 * agent: what a tracing agent does. It keeps an element for each system call
 * that is under way, and takes a burst of samples in NMIs, which it collects
 * every now and then.
 */
#define CALLS		300	/* of each CPU */
#define SAMPLES		16	/* of an NMI */
#define NMIS		12

static int samples;

static void trace_calls(int calls)
{
	enum { KEY = -8, VALUE = -72 };
	struct prog enter = {}, leave = {};
	int i;

	emit(&enter, CALL(BPF_FUNC_get_current_pid_tgid));
	emit(&enter, STORE(KEY, BPF_REG_0));
	for (i = 0; i < 8; i++)
		emit(&enter, STORE_IMM(VALUE + 8 * i, 0));
	emit_update(&enter, calls, KEY, VALUE);
	emit_return(&enter);
	emit(&leave, CALL(BPF_FUNC_get_current_pid_tgid));
	emit(&leave, STORE(KEY, BPF_REG_0));
	emit_delete(&leave, calls, KEY);
	emit_return(&leave);
	attach_tracepoint(load(&leave, BPF_PROG_TYPE_TRACEPOINT), "raw_syscalls/sys_exit");
	attach_tracepoint(load(&enter, BPF_PROG_TYPE_TRACEPOINT), "raw_syscalls/sys_enter");
}

static void trace_nmis(void)
{
	enum { KEY = -8, VALUE = -136 };
	struct prog prog = {};
	int i;

	for (i = 0; i < 16; i++)
		emit(&prog, STORE_IMM(VALUE + 8 * i, 0));
	for (i = 0; i < SAMPLES; i++) {
		emit(&prog, CALL(BPF_FUNC_ktime_get_ns));
		emit(&prog, STORE(KEY, BPF_REG_0));
		emit_update(&prog, samples, KEY, VALUE);
	}
	emit_return(&prog);
	attach_tracepoint(load(&prog, BPF_PROG_TYPE_TRACEPOINT), "nmi/nmi_handler");
}

static void *make_calls(void *cpu)
{
	unsigned int i, seed = 1 + (uintptr_t)cpu;

	run_on((uintptr_t)cpu);
	for (i = 0; i < CALLS; i++)
		usleep(500 + rand_r(&seed) % 6000);
	return NULL;
}

static void *send_nmis(void *unused)
{
	int i, fd = open("/proc/sysrq-trigger", O_WRONLY);
	uint64_t key;

	run_on(0);
	if (fd < 0)
		die("/proc/sysrq-trigger");
	for (i = 0; i < NMIS; i++) {
		/* Every CPU but this one gets an NMI to say where it is. */
		if (write(fd, "l", 1) != 1)
			die("/proc/sysrq-trigger");
		usleep(150000);
		while (map_next(samples, NULL, &key))
			map_delete(samples, &key);
	}
	close(fd);
	return unused;
}

static void agent(void)
{
	pthread_t thread;

	samples = make_map("samples", 8, 128, 65536);
	trace_nmis();
	trace_calls(make_map("calls", 8, 64, 4096));
	if (pthread_create(&thread, NULL, send_nmis, NULL))
		die("pthread_create");
	on_all_cpus(make_calls);
	pthread_join(thread, NULL);
}

/* storm: a table is thrown away and built anew, as fast as system calls can. */
#define STORM		1000
#define ROUNDS		4

static void storm(void)
{
	int fd = make_map("storm", 8, 40, STORM);
	uint64_t key, value[5] = {};
	unsigned int round;

	run_on(0);
	for (round = 0; round < ROUNDS; round++) {
		for (key = 0; key < STORM; key++)
			map_update(fd, &key, value);
		usleep(50000);
		for (key = 0; key < STORM; key++) {
			if (map_delete(fd, &key))
				die("BPF_MAP_DELETE_ELEM");
		}
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} workloads[] = {
	{ "conntrack", conntrack },
	{ "agent", agent },
	{ "storm", storm },
};

int main(int argc, char **argv)
{
	unsigned int i;

	for (i = 0; argc == 2 && i < ARRAY_SIZE(workloads); i++) {
		if (!strcmp(argv[1], workloads[i].name)) {
			workloads[i].run();
			return 0;
		}
	}
	fprintf(stderr, "usage: record_workloads conntrack|agent|storm\n");
	return 2;
}
