using Spectre.Console;

namespace BlockMount.Host.Cli;

/// <summary>Shows a progress bar on a terminal and nothing in a pipe.</summary>
internal static class ProgressBar
{
    /// <summary>Runs <paramref name="work"/> with a sink for bytes done out of <paramref name="total"/>.</summary>
    public static async Task RunAsync(string title, long total, Func<IProgress<long>?, Task> work)
    {
        if (Console.IsErrorRedirected || !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_PROGRESS")) || total <= 0)
        {
            await work(null);
            return;
        }

        // The bar goes to stderr: stdout may carry the disk.
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        await console.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new DownloadedColumn(), new TransferSpeedColumn(), new RemainingTimeColumn())
            .StartAsync(async context =>
            {
                var bar = context.AddTask(Markup.Escape(title), maxValue: total);
                await work(new Sink(bar));
            });
    }

    private sealed class Sink(ProgressTask task) : IProgress<long>
    {
        public void Report(long value) => task.Value = Math.Max(task.Value, value);

    }
}
