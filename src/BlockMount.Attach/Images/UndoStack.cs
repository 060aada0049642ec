using Microsoft.Extensions.Logging;

namespace BlockMount.Attach.Images;

/// <summary>What has to be undone, last first.</summary>
internal sealed class UndoStack
{
    private readonly Stack<(string What, Func<Task> Undo)> _steps = new();

    public int Count => _steps.Count;

    public void Push(string what, Func<Task> undo) => _steps.Push((what, undo));

    /// <summary>Undoes step after step until <paramref name="left"/> are left; stops at one that fails, which the next call tries again.</summary>
    public async Task UndoAsync(int left = 0)
    {
        while (_steps.Count > left)
        {
            await _steps.Peek().Undo();
            _steps.Pop();
        }
    }

    /// <summary>Undoes all that can be undone after a failure; what cannot is logged and told.</summary>
    /// <returns>A sentence for each step that failed.</returns>
    public async Task<IReadOnlyList<string>> UndoAllAsync(ILogger logger)
    {
        var left = new List<string>();
        while (_steps.TryPop(out var step))
        {
            try
            {
                await step.Undo();
            }
            catch (Exception error)
            {
                logger.LogError(error, "{What} could not be undone", step.What);
                left.Add($"{step.What} is left: {error.Message}");
            }
        }

        return left;
    }
}
