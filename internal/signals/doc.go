// Package signals is for a process that stands for another: it tells who sent a signal, which os/signal does not, and
// ends this process as the other one ended.
package signals
