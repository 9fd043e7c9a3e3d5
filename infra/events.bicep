// The subscription that brings dropped blobs to the app. It is made after the app's code is there: Event Grid asks the
// app at once whether it wants the events, and the app's host makes the key for them. scripts/deploy does that.
param app string
param storage string
param topic string
param input string
param deadLetters string
@description('Resource id of the identity that the topic writes dead letters with.')
param identity string
@description('The function that takes the events, as function_app.py names it.')
param functionName string = 'image_dropped'

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: app
}

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storage
}

resource events 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topic
}

// The key never leaves Azure: it is read while the template is carried out.
var key = listKeys('${site.id}/host/default', '2024-11-01').systemKeys.blobs_extension

resource subscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: events
  name: 'images-dropped'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    destination: {
      endpointType: 'WebHook'
      properties: {
        endpointUrl: 'https://${site.properties.defaultHostName}/runtime/webhooks/blobs?functionName=Host.Functions.${functionName}&code=${key}'
        maxEventsPerBatch: 1
        minimumTlsVersionAllowed: '1.2'
      }
    }
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      // With the slash: `input` must not match `input-of-others`.
      subjectBeginsWith: '/blobServices/default/containers/${input}/'
      advancedFilters: [
        {
          // One event per blob that is whole. A Data Lake account also tells of files that are still empty.
          operatorType: 'StringIn'
          key: 'data.api'
          values: ['PutBlob', 'PutBlockList', 'CopyBlob', 'FlushWithClose', 'SftpCommit']
        }
      ]
    }
    retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
    deadLetterWithResourceIdentity: {
      identity: { type: 'UserAssigned', userAssignedIdentity: identity }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: { resourceId: account.id, blobContainerName: deadLetters }
      }
    }
  }
}

output subscription string = subscription.name
