package launcher

// how says how a session came to its end.
type how string

const (
	byDetach     how = "detach"
	byQuit       how = "quit"       // the client asked to kill, which counts as detach
	byLoss       how = "lost"       // the connection dropped
	byDisconnect how = "disconnect" // envoyshim disconnect
	byCrash      how = "crash"      // the debug server ended by itself
	byExit       how = "exit"       // the process ended
	byKill       how = "kill"       // the client's user had it killed
)

type ending struct {
	how       how
	attached  bool // the client had been served
	err       error
	crash     *Crash // at which the watch holds it
	unwatched bool   // the watch is over
	letRun    bool   // it was left on hold for a watch to let it run
	recorded  func() // called when the supervisor knows it; or nil
}

// service is one client being served.
type service interface {
	run() ending
	drop()
	serves() protocol
}
