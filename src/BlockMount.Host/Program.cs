using System.CommandLine;
using System.CommandLine.Invocation;
using System.Runtime.InteropServices;
using BlockMount.Host.Cli;
using BlockMount.Host.Commands;
using BlockMount.Host.Hosting;

// Ctrl+C and SIGTERM cancel the command's work, which then leaves images consistent and cleans up after itself.
using var stopping = new CancellationTokenSource();
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, Stop);

var command = CommandTree.Create().Parse(args);
return command.Action is ParseErrorAction
    ? UsageError.Report(command)
    : await command.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null }, stopping.Token);

void Stop(PosixSignalContext context)
{
    context.Cancel = true;
    if (!Hangup.Handle(context.Signal))
    {
        stopping.Cancel();
    }
}
