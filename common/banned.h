/*
 * Calls that have a better door in this house; included last by every .c.
 * It bans no call that has none.
 * SPDX-License-Identifier: ISC
 */
#ifndef D_BANNED_H
#define D_BANNED_H

#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef atoi
#undef gets
#undef mktemp
#undef tmpnam
#undef system
#undef popen
#undef gmtime
#undef localtime
#undef ctime
#undef sqlite3_column_text
#undef sqlite3_value_text
#define strcpy(a, b) banned_use_buf_or_mem
#define strcat(a, b) banned_use_buf
#define strncpy(a, b, n) banned_use_snprintf
#define strncat(a, b, n) banned_use_buf
#define sprintf banned_use_snprintf
#define vsprintf banned_use_vsnprintf
#define strtok(a, b) banned_use_strchr
#define atoi(a) banned_use_num
#define gets(a) banned_use_io
#define mktemp(a) banned_use_mkstemp
#define tmpnam(a) banned_use_mkstemp
#define system(a) banned_use_fork_exec
#define popen(a, b) banned_use_fork_exec
#define gmtime(a) banned_use_gmtime_r
#define localtime(a) banned_use_gmtime_r
#define ctime(a) banned_use_strftime
#define sqlite3_column_text(st, i) banned_use_db_text
#define sqlite3_value_text(v) banned_use_db_value_text

#endif
