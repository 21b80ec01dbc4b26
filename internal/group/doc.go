// Package group ends a command together with what it has started, where the system has process groups (setpgid(2)).
package group
