package lambda

// Settle waits until nothing is being done in the background. The service must not have been started.
func (s *Service) Settle() { s.tasks.wg.Wait() }
