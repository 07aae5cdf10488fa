// SPDX-License-Identifier: GPL-2.0-only
/* Maps for the suites of the BPF memory allocator: create, use, describe by BTF. */
#include <linux/btf.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/mman.h>
#include <linux/uaccess.h>
#include <uapi/linux/btf.h>
#include "memalloc_map_util.h"
#include "memalloc_test_util.h"

#define FDS	64

/* What the case has open, and how many objects there were before. */
static struct {
	int fd[FDS];
	unsigned int nr_fds;
	long live;
} scene;

int memalloc_map_init(struct kunit *test)
{
	memset(&scene, 0, sizeof(scene));
	scene.live = test_live();
	return memalloc_test_init(test);
}

void memalloc_map_exit(struct kunit *test)
{
	while (scene.nr_fds)
		test_close_fd(scene.fd[--scene.nr_fds]);
	/* Maps are freed by a worker; a failed case must leave nothing to the next one. */
	test_wait_for(test_live() <= scene.live);
	memalloc_test_exit(test);
}

int test_keep_fd(struct kunit *test, int fd)
{
	KUNIT_ASSERT_GE(test, fd, 0);
	KUNIT_ASSERT_LT(test, scene.nr_fds, FDS);
	scene.fd[scene.nr_fds++] = fd;
	return fd;
}

/* A kernel thread's last fput() would be up to a worker. */
void test_close_fd(int fd)
{
	struct file *file = fget_raw(fd);

	close_fd(fd);
	if (file)
		__fput_sync(file);
}

void test_close_last(void)
{
	test_close_fd(scene.fd[--scene.nr_fds]);
}

int test_map_try(const union bpf_attr *attr)
{
	union bpf_attr copy = *attr;

	return kern_sys_bpf(BPF_MAP_CREATE, &copy, sizeof(copy));
}

int test_map_create(struct kunit *test, const union bpf_attr *attr)
{
	return test_keep_fd(test, test_map_try(attr));
}

struct bpf_map *test_map(struct kunit *test, int fd)
{
	struct bpf_map *map = bpf_map_get(fd);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, map);
	bpf_map_put(map);
	return map;
}

int test_sys_update(int fd, const void *key, const void *value, u64 flags)
{
	union bpf_attr attr = {
		.map_fd = fd,
		.key = (unsigned long)key,
		.value = (unsigned long)value,
		.flags = flags,
	};

	return kern_sys_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
}

int test_sys_delete(int fd, const void *key)
{
	union bpf_attr attr = {
		.map_fd = fd,
		.key = (unsigned long)key,
	};

	return kern_sys_bpf(BPF_MAP_DELETE_ELEM, &attr, sizeof(attr));
}

static void as_program(void)
	__acquires(RCU)
{
	rcu_read_lock();
	migrate_disable();
}

static void as_task(void)
	__releases(RCU)
{
	migrate_enable();
	rcu_read_unlock();
}

long test_map_update(struct bpf_map *map, void *key, void *value, u64 flags)
{
	long err;

	as_program();
	err = map->ops->map_update_elem(map, key, value, flags);
	as_task();
	return err;
}

long test_map_delete(struct bpf_map *map, void *key)
{
	long err;

	as_program();
	err = map->ops->map_delete_elem(map, key);
	as_task();
	return err;
}

long test_map_put(struct bpf_map *map, void *key, void *value, u64 flags)
{
	unsigned long until = jiffies + TEST_PATIENCE;
	long err;

	while ((err = test_map_update(map, key, value, flags)) == -ENOMEM &&
	       time_before(jiffies, until))
		usleep_range(200, 1000);
	return err;
}

bool test_map_has(struct bpf_map *map, void *key)
{
	bool there;

	as_program();
	there = !IS_ERR_OR_NULL(map->ops->map_lookup_elem(map, key));
	as_task();
	return there;
}

/* Batches */

void __user *test_user_memory(struct kunit *test, size_t size)
{
	unsigned long addr = kunit_vm_mmap(test, NULL, 0, size, PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);

	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return (void __user *)addr;
}

/* What user space shares with bpf() in a batch operation. */
struct batch_call {
	union bpf_attr attr;
	u32 next;
};

static void prepare_call(struct kunit *test, const struct test_batch *batch,
			 union bpf_attr *attr, struct batch_call __user **call)
{
	*call = test_user_memory(test, sizeof(**call));
	*attr = (union bpf_attr){
		.batch.keys = (unsigned long)batch->keys,
		.batch.values = (unsigned long)batch->values,
		.batch.out_batch = (unsigned long)&(*call)->next,
		.batch.count = batch->count,
	};
}

static void finish_call(struct kunit *test, struct test_batch *batch,
			struct batch_call __user *call)
{
	KUNIT_ASSERT_EQ(test, get_user(batch->count, &call->attr.batch.count), 0);
}

int test_map_batch(struct kunit *test, struct bpf_map *map, test_batch_op op,
		   struct test_batch *batch)
{
	struct batch_call __user *call;
	union bpf_attr attr;
	int ret;

	prepare_call(test, batch, &attr, &call);
	ret = op(map, &attr, &call->attr);
	finish_call(test, batch, call);
	return ret;
}

int test_map_batch_update(struct kunit *test, struct bpf_map *map, struct test_batch *batch)
{
	struct batch_call __user *call;
	union bpf_attr attr;
	int ret;

	prepare_call(test, batch, &attr, &call);
	ret = map->ops->map_update_batch(map, NULL, &attr, &call->attr);
	finish_call(test, batch, call);
	return ret;
}

/* BTF */

static u32 add_string(struct test_btf *btf, const char *text)
{
	u32 at, len;

	/* The empty string comes first. */
	if (!btf->strings_len)
		btf->strings_len = 1;
	if (!text)
		return 0;
	len = strlen(text) + 1;
	if (WARN_ON_ONCE(btf->strings_len + len > sizeof(btf->strings)))
		return 0;
	at = btf->strings_len;
	memcpy(btf->strings + at, text, len);
	btf->strings_len += len;
	return at;
}

static void add_words(struct test_btf *btf, const void *words, u32 size)
{
	if (WARN_ON_ONCE(btf->words * sizeof(u32) + size > sizeof(btf->types)))
		return;
	memcpy(btf->types + btf->words, words, size);
	btf->words += size / sizeof(u32);
}

static u32 add_type(struct test_btf *btf, const char *name, u32 kind, u32 vlen, u32 size_or_type)
{
	struct btf_type type = {
		.name_off = add_string(btf, name),
		.info = kind << 24 | vlen,
		.size = size_or_type,
	};

	add_words(btf, &type, sizeof(type));
	return ++btf->nr;
}

u32 test_btf_int(struct test_btf *btf, const char *name, u32 size)
{
	u32 id = add_type(btf, name, BTF_KIND_INT, 0, size), bits = size * BITS_PER_BYTE;

	add_words(btf, &bits, sizeof(bits));
	return id;
}

u32 test_btf_array(struct test_btf *btf, u32 type, u32 index_type, u32 nr)
{
	struct btf_array array = { .type = type, .index_type = index_type, .nelems = nr };
	u32 id = add_type(btf, NULL, BTF_KIND_ARRAY, 0, 0);

	add_words(btf, &array, sizeof(array));
	return id;
}

u32 test_btf_struct(struct test_btf *btf, const char *name, u32 size,
		    const struct test_btf_member *members, u32 nr)
{
	u32 i, id = add_type(btf, name, BTF_KIND_STRUCT, nr, size);

	for (i = 0; i < nr; i++) {
		struct btf_member member = {
			.name_off = add_string(btf, members[i].name),
			.type = members[i].type,
			.offset = members[i].offset * BITS_PER_BYTE,
		};

		add_words(btf, &member, sizeof(member));
	}
	return id;
}

u32 test_btf_pointer(struct test_btf *btf, u32 type)
{
	return add_type(btf, NULL, BTF_KIND_PTR, 0, type);
}

u32 test_btf_type_tag(struct test_btf *btf, const char *text, u32 type)
{
	return add_type(btf, text, BTF_KIND_TYPE_TAG, 0, type);
}

u32 test_btf_member_tag(struct test_btf *btf, const char *text, u32 type, u32 index)
{
	u32 id = add_type(btf, text, BTF_KIND_DECL_TAG, 0, type);

	add_words(btf, &index, sizeof(index));
	return id;
}

int test_btf_load(struct kunit *test, const struct test_btf *btf)
{
	u32 types = btf->words * sizeof(u32), size = sizeof(struct btf_header) + types +
		    btf->strings_len;
	struct btf_header header = {
		.magic = BTF_MAGIC,
		.version = BTF_VERSION,
		.hdr_len = sizeof(header),
		.type_len = types,
		.str_off = types,
		.str_len = btf->strings_len,
	};
	u8 *blob = kunit_kzalloc(test, size, GFP_KERNEL);
	union bpf_attr attr = { .btf = (unsigned long)blob, .btf_size = size };

	KUNIT_ASSERT_NOT_NULL(test, blob);
	memcpy(blob, &header, sizeof(header));
	memcpy(blob + sizeof(header), btf->types, types);
	memcpy(blob + sizeof(header) + types, btf->strings, btf->strings_len);
	return test_keep_fd(test, kern_sys_bpf(BPF_BTF_LOAD, &attr, sizeof(attr)));
}
