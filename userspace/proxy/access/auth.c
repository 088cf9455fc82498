/* SPDX-License-Identifier: BSD-2-Clause */
/* Basic authentication: who is remembered passes at once, all others wait for the one thread that
 * runs crypt_r(3).
 *
 * One lock guards users, cache, queue and the states of jobs; it is never held during a hash. The
 * loop's thread owns a check, the module owns its job:
 *
 *	QUEUED --thread takes it--> RUNNING --posted to the loop--> DONE --on_verdict--> free
 *	   |cancel: free              |cancel: ABANDONED, the thread     |cancel: taken back, free
 *	                              |frees it
 *
 * A user that doesn't exist costs a hash, too (of the first user's kind), so that time tells nobody
 * who exists. One thread is on purpose: guesses have one core at most, and a full queue is BUSY. */

#include "proxy/access/auth.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "proxy/access/auth_cache.h"
#include "proxy/access/auth_users.h"

enum job_state {
	JOB_FREE,
	JOB_QUEUED,
	JOB_RUNNING,
	JOB_ABANDONED, /* running, and nobody waits any more */
	JOB_DONE,      /* posted to the check's loop */
};

struct job {
	struct sl_list node; /* in queue or free */
	struct sl_task task;
	struct sl_auth *auth;
	struct sl_auth_check *check;
	enum job_state state;
	enum sl_auth_verdict verdict;
	struct sl_auth_fingerprint fingerprint;
	struct sl_credentials credentials;
};

struct sl_auth {
	char *path;
	struct stat file; /* as it was before it was read */
	uint32_t owners;  /* beside the first */
	uint8_t key[crypto_generichash_KEYBYTES];
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t work;
	bool stopping;
	struct sl_auth_users users;
	uint64_t generation; /* of users */
	struct sl_list queue, free;
	struct sl_auth_cache cache;
	struct job job[SL_AUTH_QUEUE_MAX];
	struct crypt_data crypt; /* the thread's */
};

static uint64_t now_ms(void)
{
	return sl_clock_us() / 1000;
}

/* --- jobs; the lock is held --- */

static void free_job(struct job *j)
{
	sodium_memzero(&j->credentials, sizeof(j->credentials));
	j->state = JOB_FREE;
	j->check = NULL;
	sl_list_add(&j->auth->free, &j->node);
}

static enum sl_auth_verdict queue_job(struct sl_auth *a, const struct sl_credentials *credentials,
				      const struct sl_auth_fingerprint *f, struct sl_auth_check *c)
{
	struct job *j;

	if (sl_list_empty(&a->free))
		return SL_AUTH_BUSY;
	j = sl_list_entry(a->free.next, struct job, node);
	sl_list_del(&j->node);
	j->state = JOB_QUEUED;
	j->check = c;
	j->fingerprint = *f;
	j->credentials = *credentials;
	c->pending = j;
	sl_list_add_tail(&a->queue, &j->node);
	pthread_cond_signal(&a->work);
	return SL_AUTH_PENDING;
}

/* In the loop's thread. */
static void tell_verdict(struct sl_task *t)
{
	struct job *j = sl_list_entry(t, struct job, task);
	enum sl_auth_verdict verdict = j->verdict;
	struct sl_auth_check *c = j->check;
	struct sl_auth *a = j->auth;

	pthread_mutex_lock(&a->lock);
	free_job(j);
	pthread_mutex_unlock(&a->lock);
	c->pending = NULL;
	c->on_verdict(c, verdict);
}

/* Posts under the lock: once a cancel has it, the loop may be gone. */
static void finish_job(struct job *j, bool ok)
{
	if (j->state == JOB_ABANDONED) {
		free_job(j);
		return;
	}
	j->verdict = ok ? SL_AUTH_OK : SL_AUTH_DENIED;
	j->state = JOB_DONE;
	sl_loop_post(j->check->loop, &j->task);
}

/* --- the thread --- */

static bool hash_matches(struct sl_auth *a, const char *password, const char *hash)
{
	const char *computed = crypt_r(password, hash, &a->crypt);
	size_t len = strlen(hash);
	bool same;

	same = computed && strlen(computed) == len && !sodium_memcmp(computed, hash, len);
	sodium_memzero(&a->crypt, sizeof(a->crypt));
	return same;
}

/* The lock is held, but not during the hash. */
static bool check_users(struct sl_auth *a, const struct job *j)
{
	const struct sl_auth_user *u = sl_auth_users_find(&a->users, j->credentials.user);
	char hash[SL_AUTH_HASH_MAX + 1];
	bool known = u, same;

	if (!a->users.n)
		return false;
	strcpy(hash, known ? u->hash : a->users.user[0].hash);
	pthread_mutex_unlock(&a->lock);
	same = hash_matches(a, j->credentials.password, hash);
	sodium_memzero(hash, sizeof(hash));
	pthread_mutex_lock(&a->lock);
	return known && same;
}

/* The lock is held. A client's parallel requests bring the same credentials: the first one pays. */
static void run_job(struct sl_auth *a, struct job *j)
{
	bool ok = sl_auth_cache_find(&a->cache, &j->fingerprint, now_ms());
	uint64_t generation;

	if (!ok) {
		do { /* again if the users changed meanwhile */
			generation = a->generation;
			ok = check_users(a, j);
		} while (generation != a->generation && !a->stopping);
		if (ok)
			sl_auth_cache_add(&a->cache, &j->fingerprint, now_ms());
	}
	finish_job(j, ok);
}

static void *run_thread(void *arg)
{
	struct sl_auth *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->stopping) {
		struct job *j;

		if (sl_list_empty(&a->queue)) {
			pthread_cond_wait(&a->work, &a->lock);
			continue;
		}
		j = sl_list_entry(a->queue.next, struct job, node);
		sl_list_del(&j->node);
		j->state = JOB_RUNNING;
		run_job(a, j);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* Signals are for the thread that asked for them. */
static int start_thread(struct sl_auth *a)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&a->thread, NULL, run_thread, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

/* --- the module's face --- */

enum sl_auth_verdict sl_auth_verify(struct sl_auth *a, struct sl_slice value,
				    struct sl_auth_check *c)
{
	struct sl_credentials credentials = {{0}};
	struct sl_auth_fingerprint f;
	enum sl_auth_verdict v;

	c->pending = NULL;
	c->user[0] = '\0';
	if (sl_credentials_parse(value, &credentials))
		return SL_AUTH_DENIED;
	strcpy(c->user, credentials.user);
	/* both strings end with NUL and are padded with it: no two credentials look the same */
	crypto_generichash(f.bytes, sizeof(f.bytes), (const unsigned char *)&credentials,
			   sizeof(credentials), a->key, sizeof(a->key));
	pthread_mutex_lock(&a->lock);
	v = sl_auth_cache_find(&a->cache, &f, now_ms()) ? SL_AUTH_OK
							: queue_job(a, &credentials, &f, c);
	pthread_mutex_unlock(&a->lock);
	sodium_memzero(&credentials, sizeof(credentials));
	return v;
}

void sl_auth_cancel(struct sl_auth_check *c)
{
	struct job *j = c->pending;
	struct sl_auth *a = j ? j->auth : NULL;

	if (!j)
		return;
	c->pending = NULL;
	pthread_mutex_lock(&a->lock);
	if (j->state == JOB_RUNNING) {
		j->state = JOB_ABANDONED;
	} else {
		if (j->state == JOB_DONE)
			sl_loop_unpost(c->loop, &j->task);
		sl_list_del(&j->node);
		free_job(j);
	}
	pthread_mutex_unlock(&a->lock);
}

int sl_auth_reload(struct sl_auth *a, unsigned *ret_line)
{
	struct sl_auth_users users, old;
	int r = sl_auth_users_load(a->path, &users, ret_line);

	if (r)
		return r;
	pthread_mutex_lock(&a->lock);
	old = a->users;
	a->users = users;
	a->generation++;
	sl_auth_cache_clear(&a->cache);
	pthread_mutex_unlock(&a->lock);
	sl_auth_users_free(&old);
	return 0;
}

static void free_auth(struct sl_auth *a)
{
	pthread_cond_destroy(&a->work);
	pthread_mutex_destroy(&a->lock);
	sl_auth_users_free(&a->users);
	free(a->path);
	sodium_munlock(a, sizeof(*a)); /* zeroes it */
	free(a);
}

int sl_auth_open(const char *path, struct sl_auth **ret, unsigned *ret_line)
{
	struct sl_auth *a;
	int r;

	*ret_line = 0;
	if (sodium_init() < 0)
		return -EIO;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	sodium_mlock(a,
		     sizeof(*a)); /* passwords: never in swap or a core dump, as far as allowed */
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->work, NULL);
	randombytes_buf(a->key, sizeof(a->key));
	sl_list_init(&a->queue);
	sl_list_init(&a->free);
	for (size_t i = 0; i < SL_AUTH_QUEUE_MAX; i++) {
		a->job[i].auth = a;
		sl_task_init(&a->job[i].task, tell_verdict);
		sl_list_add(&a->free, &a->job[i].node);
	}
	a->path = strdup(path);
	if (stat(path, &a->file) < 0)
		memset(&a->file, 0, sizeof(a->file));
	r = a->path ? sl_auth_users_load(path, &a->users, ret_line) : -ENOMEM;
	r = r ? r : start_thread(a);
	if (r) {
		free_auth(a);
		return r;
	}
	*ret = a;
	return 0;
}

struct sl_auth *sl_auth_share(struct sl_auth *a)
{
	a->owners++;
	return a;
}

bool sl_auth_is_current(const struct sl_auth *a)
{
	struct stat now;

	return !stat(a->path, &now) && now.st_ino == a->file.st_ino &&
	       now.st_dev == a->file.st_dev && now.st_size == a->file.st_size &&
	       now.st_mtim.tv_sec == a->file.st_mtim.tv_sec &&
	       now.st_mtim.tv_nsec == a->file.st_mtim.tv_nsec;
}

void sl_auth_close(struct sl_auth *a)
{
	if (!a || a->owners--)
		return;
	pthread_mutex_lock(&a->lock);
	a->stopping = true;
	pthread_cond_signal(&a->work);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	free_auth(a);
}
