/* SPDX-License-Identifier: GPL-2.0-only */
/* Maps for the suites of the BPF memory allocator: create, use, describe by BTF. */
#ifndef _BPF_MEMALLOC_MAP_UTIL_H
#define _BPF_MEMALLOC_MAP_UTIL_H

#include <kunit/test.h>
#include <linux/bpf.h>

/* Not in a header: user space's bpf() for the kernel's own use. */
int kern_sys_bpf(int cmd, union bpf_attr *attr, unsigned int size);

/* Nor are these: what a program calls to make objects and to put them on lists. */
void *bpf_obj_new_impl(u64 size, void *meta);
int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node,
			     void *meta, u64 off);

/* Suite hooks: descriptors are closed, and then no object is left. */
int memalloc_map_init(struct kunit *test);
void memalloc_map_exit(struct kunit *test);

/* It must be valid; it is closed when the case ends. */
int test_keep_fd(struct kunit *test, int fd);
/* Close one that nobody keeps; its file is gone on return. */
void test_close_fd(int fd);
/* Close the one that was kept last. */
void test_close_last(void);

/* A descriptor, or what bpf() says. */
int test_map_try(const union bpf_attr *attr);
/* One that must come, and stays as long as the case. */
int test_map_create(struct kunit *test, const union bpf_attr *attr);
/* What is behind it; the descriptor keeps the reference. */
struct bpf_map *test_map(struct kunit *test, int fd);

/* What user space does. */
int test_sys_update(int fd, const void *key, const void *value, u64 flags);
int test_sys_delete(int fd, const void *key);

/* What a program does: in RCU, migration disabled, interrupts on. */
long test_map_update(struct bpf_map *map, void *key, void *value, u64 flags);
long test_map_delete(struct bpf_map *map, void *key);
/* As a program that waits for a refill would: try again while it runs. */
long test_map_put(struct bpf_map *map, void *key, void *value, u64 flags);
bool test_map_has(struct bpf_map *map, void *key);

/* User memory of the case: batches go through it. */
void __user *test_user_memory(struct kunit *test, size_t size);

/*
 * One batch operation on @map: keys and values in user memory. @count goes in,
 * and comes back as what was done. Returns what the operation does.
 */
typedef int (*test_batch_op)(struct bpf_map *map, const union bpf_attr *attr,
			     union bpf_attr __user *uattr);

struct test_batch {
	void __user *keys;
	void __user *values;
	u32 count;
};

int test_map_batch_update(struct kunit *test, struct bpf_map *map, struct test_batch *batch);
int test_map_batch(struct kunit *test, struct bpf_map *map, test_batch_op op,
		   struct test_batch *batch);

/* BTF in the making: types are numbered from 1 in the order they are added. */
struct test_btf {
	u32 types[256];
	u32 words;
	u32 nr;
	char strings[512];
	u32 strings_len;
};

struct test_btf_member {
	const char *name;
	u32 type;
	u32 offset;	/* bytes */
};

u32 test_btf_int(struct test_btf *btf, const char *name, u32 size);
u32 test_btf_array(struct test_btf *btf, u32 type, u32 index_type, u32 nr);
u32 test_btf_struct(struct test_btf *btf, const char *name, u32 size,
		    const struct test_btf_member *members, u32 nr);
u32 test_btf_pointer(struct test_btf *btf, u32 type);
/* Say @text of @type, and of the member @index of the structure @type. */
u32 test_btf_type_tag(struct test_btf *btf, const char *text, u32 type);
u32 test_btf_member_tag(struct test_btf *btf, const char *text, u32 type, u32 index);
/* A descriptor that stays as long as the case. */
int test_btf_load(struct kunit *test, const struct test_btf *btf);

#endif /* _BPF_MEMALLOC_MAP_UTIL_H */
