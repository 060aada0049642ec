namespace BlockMount.Nbd.Transports;

/// <summary>What a transport asks of the connection while its thread waits in an <see cref="BlockMount.Core.Storage.IoLoop"/>.</summary>
internal interface IWokenConnection
{
    /// <summary>Whether operations are under way, which may wake the loop from another thread.</summary>
    bool IsWaiting { get; }

    /// <summary>Sends the replies of what has completed, if anything has.</summary>
    void AnswerCompleted();
}
